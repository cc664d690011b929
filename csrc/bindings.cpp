// Python bindings. Tensors are passed as addresses, sizes and strides (in elements), so the module needs neither the
// headers nor the libraries of torch. Nothing is checked here: dmlkernels/backends/native checks every argument.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>

#include "cpu/formulas.hpp"
#include "cpu/labels.hpp"
#include "cpu/norms.hpp"
#include "cpu/problem.hpp"
#include "cpu/tile.hpp"

namespace py = pybind11;
using dml::cpu::Centers;
using dml::cpu::Formula;
using dml::cpu::FormulaKind;
using dml::cpu::Integer;
using dml::cpu::Kernels;
using dml::cpu::Kind;
using dml::cpu::Problem;
using dml::cpu::Term;
using dml::cpu::Type;
using dml::cpu::Vectors;
using dml::cpu::Workspace;

namespace {

template <class Real>
void define_norms(py::module_& module, const char* normalise, const char* backward) {
    using Release = py::call_guard<py::gil_scoped_release>;
    using std::int64_t;
    using std::uintptr_t;
    module.def(
        normalise,
        [](uintptr_t x, uintptr_t unit, uintptr_t inverse, int64_t rows, int64_t dim, int64_t row_stride, int threads) {
            dml::cpu::normalise(reinterpret_cast<const Real*>(x), reinterpret_cast<Real*>(unit),
                                reinterpret_cast<Real*>(inverse), rows, dim, row_stride, threads);
        },
        Release());
    module.def(
        backward,
        [](uintptr_t unit, uintptr_t inverse, uintptr_t gradient, int64_t rows, int64_t dim, int threads) {
            dml::cpu::normalisation_backward(reinterpret_cast<const Real*>(unit),
                                             reinterpret_cast<const Real*>(inverse),
                                             reinterpret_cast<Real*>(gradient), rows, dim, threads);
        },
        Release());
}

void define_terms(py::module_& module) {
    py::enum_<Kind> kinds(module, "Kind");
#define DML_VALUE(kind, Class) kinds.value(#kind, Kind::kind);
    DML_STATISTICS(DML_VALUE)
#undef DML_VALUE
    py::class_<Term>(module, "Term")
        .def(py::init<>())
        .def_readwrite("kind", &Term::kind)
        .def_readwrite("parameters", &Term::parameters)
        .def_readwrite("first", &Term::first)
        .def_readwrite("from_rows", &Term::from_rows)
        .def_readwrite("from_columns", &Term::from_columns);
}

void define_problem(py::module_& module) {
    py::enum_<Type>(module, "Type")
        .value("float16", Type::float16)
        .value("bfloat16", Type::bfloat16)
        .value("float32", Type::float32)
        .value("float64", Type::float64);
    py::class_<Vectors>(module, "Vectors")
        .def(py::init<>())
        .def_readwrite("type", &Vectors::type)
        .def_readwrite("values", &Vectors::values)
        .def_readwrite("size", &Vectors::size)
        .def_readwrite("stride", &Vectors::stride)
        .def_readwrite("view_stride", &Vectors::view_stride)
        .def_readwrite("boundaries", &Vectors::boundaries)
        .def_readwrite("labels", &Vectors::labels)
        .def_readwrite("weights", &Vectors::weights)
        .def_readwrite("row_values", &Vectors::row_values)
        .def_readwrite("gradient", &Vectors::gradient);
    py::class_<Problem>(module, "Problem")
        .def(py::init<>())
        .def(py::init<const Problem&>())
        .def_readwrite("wide", &Problem::wide)
        .def_readwrite("dim", &Problem::dim)
        .def_readwrite("views", &Problem::views)
        .def_readwrite("group", &Problem::group)
        .def_readwrite("width", &Problem::width)
        .def_readwrite("row_values", &Problem::row_values)
        .def_readwrite("threads", &Problem::threads)
        .def_readwrite("rows", &Problem::rows)
        .def_readwrite("columns", &Problem::columns)
        .def_readwrite("terms", &Problem::terms)
        .def_readwrite("implicit_labels", &Problem::implicit_labels)
        .def_readwrite("within", &Problem::within)
        .def_readwrite("symmetric", &Problem::symmetric)
        .def_readwrite("block_rows", &Problem::block_rows)
        .def_readwrite("block_labels", &Problem::block_labels)
        .def_readwrite("part_columns", &Problem::part_columns)
        .def_readwrite("empty", &Problem::empty)
        .def_readwrite("statistics", &Problem::statistics)
        .def_readwrite("gradient", &Problem::gradient)
        .def_readwrite("saved", &Problem::saved);
}

void define_centers(py::module_& module) {
    py::class_<Centers>(module, "Centers")
        .def(py::init<>())
        .def_readwrite("wide", &Centers::wide)
        .def_readwrite("classes", &Centers::classes)
        .def_readwrite("group", &Centers::group)
        .def_readwrite("dim", &Centers::dim)
        .def_readwrite("stride", &Centers::stride)
        .def_readwrite("values", &Centers::values)
        .def_readwrite("slack", &Centers::slack)
        .def_readwrite("gradient", &Centers::gradient)
        .def_readwrite("of_values", &Centers::of_values)
        .def_readwrite("threads", &Centers::threads);
}

void define_formulas(py::module_& module) {
    using Release = py::call_guard<py::gil_scoped_release>;
    py::enum_<FormulaKind>(module, "FormulaKind")
        .value("anchor", FormulaKind::anchor)
        .value("angle", FormulaKind::angle)
        .value("cross_entropy", FormulaKind::cross_entropy)
        .value("decidability_inverse", FormulaKind::decidability_inverse)
        .value("decidability_neg", FormulaKind::decidability_neg)
        .value("decidability_neg_log", FormulaKind::decidability_neg_log)
        .value("difference", FormulaKind::difference)
        .value("fused", FormulaKind::fused)
        .value("fused_inverse", FormulaKind::fused_inverse)
        .value("fused_neg", FormulaKind::fused_neg)
        .value("fused_neg_log", FormulaKind::fused_neg_log)
        .value("joint", FormulaKind::joint)
        .value("last", FormulaKind::last)
        .value("magnified", FormulaKind::magnified)
        .value("turned", FormulaKind::turned);
    py::class_<Formula>(module, "Formula")
        .def(py::init<>())
        .def_readwrite("kind", &Formula::kind)
        .def_readwrite("numbers", &Formula::numbers)
        .def_readwrite("wide", &Formula::wide)
        .def_readwrite("mean", &Formula::mean)
        .def_readwrite("rows", &Formula::rows)
        .def_readwrite("width", &Formula::width)
        .def_readwrite("threads", &Formula::threads)
        .def_readwrite("statistics", &Formula::statistics)
        .def_readwrite("labels", &Formula::labels)
        .def_readwrite("weights", &Formula::weights)
        .def_readwrite("values", &Formula::values)
        .def_readwrite("loss", &Formula::loss)
        .def_readwrite("parts", &Formula::parts)
        .def_readwrite("state", &Formula::state)
        .def_readwrite("loss_gradient", &Formula::loss_gradient)
        .def_readwrite("gradient", &Formula::gradient)
        .def_readwrite("of_values", &Formula::of_values);
    module.def("evaluate", &dml::cpu::evaluate, Release());
    module.def("slopes", &dml::cpu::slopes, Release());
}

void define_labels(py::module_& module) {
    py::enum_<Integer>(module, "Integer")
        .value("int8", Integer::int8)
        .value("int16", Integer::int16)
        .value("int32", Integer::int32)
        .value("int64", Integer::int64)
        .value("uint8", Integer::uint8);
    module.def("resolve_labels", &dml::cpu::resolve_labels);
}

// Raises a pending KeyboardInterrupt between two tiles.
void heed_signals() {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void define_kernels(py::module_& module) {
    using Release = py::call_guard<py::gil_scoped_release>;
    py::class_<Kernels>(module, "Kernels")
        .def_property_readonly("name", [](const Kernels& kernels) { return std::string(kernels.name); })
        .def("forward", [](const Kernels& k, const Problem& problem) { dml::cpu::forward(problem, k, heed_signals); },
             Release())
        .def("backward", [](const Kernels& k, const Problem& problem) { dml::cpu::backward(problem, k, heed_signals); },
             Release())
        .def("spread", [](const Kernels& k, const Centers& of) {
            Workspace workspace;
            return k.spread(of, workspace);
        }, Release())
        .def("spread_backward", [](const Kernels& k, const Centers& of) {
            Workspace workspace;
            k.spread_backward(of, workspace);
        }, Release())
        .def("exp", [](const Kernels& k, bool wide, std::uintptr_t x, std::uintptr_t out,
                       std::int64_t count) { k.exp(wide, x, out, count); })
        .def("power", [](const Kernels& k, bool wide, double exponent, std::uintptr_t x, std::uintptr_t out,
                         std::int64_t count) { k.power(wide, exponent, x, out, count); });
    module.def("kernels", &dml::cpu::kernels);
}

}  // namespace

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
    module.doc() = "Compiled engines of dmlkernels; private, call them through dmlkernels.backends.native";
    define_norms<float>(module, "normalise_float32", "normalisation_backward_float32");
    define_norms<double>(module, "normalise_float64", "normalisation_backward_float64");
    define_terms(module);
    define_problem(module);
    define_centers(module);
    define_formulas(module);
    define_labels(module);
    define_kernels(module);
}
