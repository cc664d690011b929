// Python bindings of the CUDA engine. Tensors are passed as addresses, as in csrc/bindings.cpp. Nothing is checked
// here: dmlkernels/backends/native/cuda checks every argument.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda/problem.hpp"

namespace py = pybind11;
using namespace dml::cuda;

#if defined(DML_CUDA_EMULATED)  // for tests/native/emulated
void define_emulation(py::module_& module);
#define DML_CUDA_MODULE _emulated_cuda
#else
#define DML_CUDA_MODULE _native_cuda
#endif

namespace {

void define_enumerations(py::module_& module) {
    py::enum_<Type>(module, "Type", py::module_local())
        .value("float16", Type::float16)
        .value("bfloat16", Type::bfloat16)
        .value("float32", Type::float32)
        .value("float64", Type::float64);
    py::enum_<Kind> kinds(module, "Kind", py::module_local());
#define DML_VALUE(kind, Class) kinds.value(#kind, Kind::kind);
    DML_CUDA_STATISTICS(DML_VALUE)
#undef DML_VALUE
    py::enum_<Role>(module, "Role", py::module_local())
        .value("rows", Role::rows)
        .value("columns", Role::columns)
        .value("both", Role::both);
}

void define_problem(py::module_& module) {
    py::class_<Vectors>(module, "Vectors", py::module_local())
        .def(py::init<>())
        .def_readwrite("points", &Vectors::points)
        .def_readwrite("columns", &Vectors::columns)
        .def_readwrite("border", &Vectors::border)
        .def_readwrite("count", &Vectors::count)
        .def_readwrite("point_stride", &Vectors::point_stride)
        .def_readwrite("column_stride", &Vectors::column_stride)
        .def_readwrite("view_stride", &Vectors::view_stride)
        .def_readwrite("order", &Vectors::order)
        .def_readwrite("point_labels", &Vectors::point_labels)
        .def_readwrite("column_labels", &Vectors::column_labels)
        .def_readwrite("point_norms", &Vectors::point_norms)
        .def_readwrite("column_norms", &Vectors::column_norms)
        .def_readwrite("weights", &Vectors::weights)
        .def("set_segments", [](Vectors& vectors, std::int64_t second, std::int64_t third) {
            vectors.segments[0] = second;
            vectors.segments[1] = third;
        });
    py::class_<Job>(module, "Job", py::module_local())
        .def(py::init<>())
        .def_readwrite("owned", &Job::owned)
        .def_readwrite("streamed", &Job::streamed)
        .def_readwrite("role", &Job::role)
        .def_readwrite("diagonal", &Job::diagonal)
        .def_readwrite("per_block", &Job::per_block)
        .def_readwrite("blocks", &Job::blocks)
        .def_readwrite("slices", &Job::slices)
        .def_readwrite("num_splits", &Job::num_splits)
        .def_readwrite("out", &Job::out)
        .def_readwrite("partial", &Job::partial);
    py::class_<Problem>(module, "Problem", py::module_local())
        .def(py::init<>())
        .def_readwrite("kind", &Problem::kind)
        .def_readwrite("type", &Problem::type)
        .def_readwrite("parameters", &Problem::parameters)
        .def_readwrite("dim", &Problem::dim)
        .def_readwrite("group", &Problem::group)
        .def_readwrite("aligned", &Problem::aligned)
        .def_readwrite("find_norms", &Problem::find_norms)
        .def_readwrite("statistics", &Problem::statistics)
        .def_readwrite("gradient", &Problem::gradient)
        .def_readwrite("row_values", &Problem::row_values)
        .def_readwrite("row_value_count", &Problem::row_value_count)
        .def_readwrite("stream", &Problem::stream)
        .def("set_job", [](Problem& problem, std::size_t which, const Job& job) {
            if (which >= 2) throw py::index_error("a problem has two jobs");
            problem.jobs[which] = job;
        });
}

}  // namespace

PYBIND11_MODULE(DML_CUDA_MODULE, module, py::mod_gil_not_used()) {
    using Release = py::call_guard<py::gil_scoped_release>;
    module.doc() = "The CUDA engine of dmlkernels; private, call it through dmlkernels.backends.native";
    define_enumerations(module);
    define_problem(module);
    module.def("sizes", [](Type type) {
        const Sizes found = sizes(type);
        return std::pair(found.places, found.slice);
    });
    module.def("driver_error", &driver_error);
    module.def("norms", &norms, Release());
    module.def("forward", &forward, Release());
    module.def("backward", &backward, Release());
#if defined(DML_CUDA_EMULATED)
    define_emulation(module);
#endif
}
