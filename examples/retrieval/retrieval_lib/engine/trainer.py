"""The epochs of a run: train, evaluate, save, stop and resume."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from tqdm import tqdm

from retrieval_lib.checkpoint import checkpoint_name, checkpoints, latest_checkpoint, save_checkpoint
from retrieval_lib.data.dataset import ImageDataset
from retrieval_lib.data.loading import batches_of, make_loader
from retrieval_lib.data.sampling import Batches
from retrieval_lib.data.splits import split_for_training
from retrieval_lib.data.task import Images, Task
from retrieval_lib.data.transforms import test_transform, training_transform
from retrieval_lib.engine.parts import Parts
from retrieval_lib.engine.position import Position
from retrieval_lib.errors import UserError
from retrieval_lib.evaluation import headline, metrics
from retrieval_lib.evaluation.embedding import Embedded, InterruptionError, embed
from retrieval_lib.job import Job
from retrieval_lib.logbook import Logbook
from retrieval_lib.optimiser import set_learning_rates
from retrieval_lib.randomness import derived_seed, generator_states, restore_generator_states, seed_everything
from retrieval_lib.signals import StoppedError, StopRequest
from retrieval_lib.world import World


class Trainer:
    """Trains one job, from its latest checkpoint if ``resume``."""

    def __init__(self, job: Job, task: Task, world: World, stop: StopRequest, *, resume: bool) -> None:
        self.job, self.task, self.world, self.stop = job, task, world, stop
        self.config = config = job.config
        seed_everything(job.seed)
        self.split = split_for_training(
            task.train,
            validation_share=config.data.validation_share,
            label_noise=config.data.label_noise,
            seed=job.seed,
        )
        self.test_transform = test_transform(config.data.resize, config.data.crop)
        per_class = config.data.images_per_class if config.data.sampler == "per_class" else None
        self.batches = Batches(self.split.labels, job.batch_size, per_class, job.seed, world.rank, world.size)
        dataset = ImageDataset(self.split.images, self.split.labels, training_transform(config.data.crop))
        self.loader = make_loader(
            dataset, self.batches, workers=config.data.workers, pin_memory=world.device.type == "cuda"
        )
        self.parts = Parts(config, self.split.num_classes, world)
        if world.size > 1:  # equal networks, but dropout and the intervention draw apart
            seed_everything(derived_seed(job.seed, world.rank))
        self.position = Position()
        job.checkpoints.mkdir(parents=True, exist_ok=True)
        problems = self._resume() if resume and world.from_main(bool(checkpoints(job.checkpoints))) else []
        self.log = Logbook(job.folder, active=world.is_main, first_epoch=self.position.epoch)
        for problem in problems:
            self.log.say(f"warning: {problem}; using the checkpoint before it")
        if self.parts.warning:
            self.log.say(f"warning: {self.parts.warning}")

    def _resume(self) -> list[str]:
        path, state, problems = latest_checkpoint(self.job.checkpoints, self.world)
        self.job.check_identity(state["identity"], path)
        self.parts.load_state(state["parts"])
        self.position = Position(**state["position"])
        restore_generator_states(state["generators"])
        return problems

    def run(self) -> None:
        """Train to the end.

        Raises:
            StoppedError: a signal came; the state is saved.
        """
        try:
            self._start()
            while self.position.epoch < self.config.train.epochs:
                self._train_epoch()
                self._finish_epoch()
        except InterruptionError:
            if self.position.history:  # before the first evaluation there is nothing to keep
                self._save()
            raise StoppedError(self.world.highest(self.stop.number)) from None
        finally:
            self.log.close()

    def _start(self) -> None:
        if self.position.history:
            return
        if self.config.loss.proxy_init == "class_mean" and hasattr(self.parts.objective.base, "init_proxies_from"):
            embedded = self.embed(self.split.images, "embedding the training images")
            labels = torch.tensor(self.split.labels)
            self.parts.objective.base.init_proxies_from(embedded.embeddings.to(self.world.device), labels)
        self._evaluate({"epoch": 0})
        self._save()

    def _train_epoch(self) -> None:
        position, train = self.position, self.config.train
        epoch = position.epoch
        set_learning_rates(self.parts.optimisers, train, epoch)
        self.parts.objective.set_epoch(epoch)
        self.parts.start_phase(warming_up=epoch < train.warmup_epochs)
        self.batches.start_at(epoch, position.step)
        total = torch.tensor(position.loss_sum, dtype=torch.float64, device=self.world.device)
        started = time.perf_counter()
        title, hidden, device = f"epoch {epoch + 1}/{train.epochs}", None if self.world.is_main else True, total.device
        with batches_of(self.loader) as batches:
            for images, labels in tqdm(batches, title, len(self.batches), leave=False, disable=hidden):
                total += self.parts.step(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
                position.step += 1
                if self.world.highest(self.stop.number):
                    break
        position.loss_sum = float(total)
        position.seconds += time.perf_counter() - started
        self.parts.share_buffers()
        if self.world.highest(self.stop.number):
            raise InterruptionError

    def _finish_epoch(self) -> None:
        position = self.position
        loss = sum(self.world.gathered(position.loss_sum)) / self.world.size / self.batches.steps
        finite = all(bool(parameter.isfinite().all()) for parameter in self.parts.network.parameters())
        if not math.isfinite(loss) or not finite:
            broken = f"the loss is {loss}" if finite else f"the loss is {loss}, and weights are not finite"
            raise UserError(
                f"epoch {position.epoch + 1}: {broken}. The last checkpoint is from before it; try a lower "
                "train.lr or train.proxy_lr_factor, or train.clip_norm"
            )
        done = position.epoch + 1
        numbers = {"epoch": done, "loss": loss, "lr": self.parts.optimisers[0].param_groups[0]["lr"]}
        if done % self.config.evaluation.every == 0 or done == self.config.train.epochs:
            self._evaluate(numbers)
        else:
            self._record(numbers)
        position.next_epoch()
        self._save()

    def _evaluate(self, numbers: dict[str, float]) -> None:
        """Measure the validation split where there is one, the test split otherwise, and remember the best epoch."""
        if self.split.validation is None:
            self._record(numbers | self.measure(self.task, *self.embed_test()))
            return
        task = Task("validation", self.split.images, self.split.validation)
        found = self.measure(task, self.embed(task.test, "validation"), None)
        self._record(numbers | found)
        best = self.position.best
        if not best or headline(found)[1] > best["value"]:
            weights = {name: value.detach().cpu().clone() for name, value in self.parts.network.state_dict().items()}
            self.position.best = {"epoch": numbers["epoch"], "value": headline(found)[1], "network": weights}

    def _record(self, numbers: dict[str, float]) -> None:
        self.position.history.append(numbers)
        self.log.record(int(numbers["epoch"]), numbers)

    def chosen_epoch(self) -> int:
        """Load the weights to report: of the last epoch, or of the best on the validation split."""
        if self.position.best:
            self.parts.network.load_state_dict(self.position.best["network"])
            return int(self.position.best["epoch"])
        return self.config.train.epochs

    def embed(self, images: Images, title: str) -> Embedded:
        """Embeddings of images by the network as it is."""
        return embed(
            self.parts.network,
            images,
            self.test_transform,
            self.world,
            workers=self.config.data.workers,
            autocast=self.parts.autocast,
            should_stop=self._should_stop,
            title=title,
        )

    def embed_test(self) -> tuple[Embedded, Embedded | None]:
        """Test images, and the gallery if there is one."""
        test = self.embed(self.task.test, "test")
        return test, None if self.task.gallery is None else self.embed(self.task.gallery, "gallery")

    def measure(self, task: Task, test: Embedded, gallery: Embedded | None) -> dict[str, float]:
        """Metrics, by the main process for all."""
        found = metrics(task, test, gallery, self.config.evaluation) if self.world.is_main else None
        return self.world.from_main(found)

    def _should_stop(self) -> bool:
        return bool(self.stop.number)

    def _save(self) -> None:
        position = self.position
        state: dict[str, Any] = {
            "identity": self.job.identity(),
            "position": vars(position),
            "parts": self.parts.state(),
            "generators": generator_states(),
        }
        name = checkpoint_name(position.epoch, position.step)
        save_checkpoint(self.job.checkpoints, name, state, self.world, keep=self.config.train.keep_checkpoints)
