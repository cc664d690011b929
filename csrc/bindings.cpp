// Python bindings. Tensors arrive as addresses, sizes and strides (in elements), so neither torch's headers nor its
// libraries are needed; every check is made on the Python side (dmlkernels/backends/native.py).
#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpu/norms.hpp"

namespace py = pybind11;

namespace {

template <class Real>
void reciprocal_norms(std::uintptr_t x, std::uintptr_t out, std::int64_t rows, std::int64_t dim,
                      std::int64_t row_stride, int threads) {
    dml::cpu::reciprocal_norms(reinterpret_cast<const Real*>(x), reinterpret_cast<Real*>(out), rows, dim, row_stride,
                               threads);
}

template <class Real>
void define_for(py::module_& module, const char* name) {
    module.def(name, &reciprocal_norms<Real>, py::arg("x"), py::arg("out"), py::arg("rows"), py::arg("dim"),
               py::arg("row_stride"), py::arg("threads"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
    module.doc() = "Compiled engines of dmlkernels; private, call them through dmlkernels.backends.native";
    define_for<float>(module, "reciprocal_norms_float32");
    define_for<double>(module, "reciprocal_norms_float64");
}
