#include "kernels/backend.h"

namespace cascade::kernels {

void Backend::NormLinear(TensorView x, WeightId gain, float eps, TensorView h, std::span<const LinearTarget> targets) {
  RmsNorm(x, gain, eps, h);
  Linear(h, targets);
}

void Backend::GatedNormLinear(TensorView x, WeightId gain, float eps, TensorView h, WeightId gate_weight,
                              WeightId up_weight, TensorView gate, TensorView up) {
  const LinearTarget targets[] = {{gate_weight, gate}, {up_weight, up}};
  NormLinear(x, gain, eps, h, targets);
  SiluMul(gate, up);
}

void Backend::AppendAndAttend(int layer, TensorView q, TensorView k, TensorView v, TensorView out) {
  AppendKv(layer, k, v);
  Attend(layer, q, out);
}

}  // namespace cascade::kernels
