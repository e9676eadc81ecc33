#include "tests/support/reference_ops.h"

#include <algorithm>
#include <cmath>

#include "kernels/dequantize.h"
#include "tests/support/rounding.h"

namespace cascade::reference {
namespace {

constexpr double kRounding = 0x1p-24;  // half a unit in the last place of float32
constexpr int kBlock = 32;

// One block of activations as integers: value = scale * quants.
struct IntegerBlock {
  float scale = 0;
  int quants[kBlock] = {};
};

// `most`: the integers reach from -most to most.
IntegerBlock QuantizeBlock(const float* x, int most) {
  IntegerBlock block;
  float amax = 0;
  for (int i = 0; i < kBlock; ++i) amax = std::max(amax, std::abs(x[i]));
  if (!(amax > 1e-33f)) return block;
  block.scale = amax / static_cast<float>(most);
  const float inverse = static_cast<float>(most) / amax;
  for (int i = 0; i < kBlock; ++i) block.quants[i] = static_cast<int>(std::nearbyint(x[i] * inverse));
  return block;
}

}  // namespace

std::vector<float> StoredWeight::Row(int64_t row) const {
  std::vector<float> values(cols);
  kernels::DequantizeRow(type, bytes.data() + row * kernels::RowBytes(type, cols), values.data(), cols);
  return values;
}

std::vector<kernels::QuantBlock> StoredWeight::Blocks(int64_t row) const {
  std::vector<kernels::QuantBlock> blocks(cols / kernels::BlockElements(type));
  const auto* stored = reinterpret_cast<const uint8_t*>(bytes.data()) + row * kernels::RowBytes(type, cols);
  for (size_t b = 0; b < blocks.size(); ++b) {
    kernels::ReadQuantBlock(type, stored + b * kernels::BlockBytes(type), blocks[b]);
  }
  return blocks;
}

Matrix Embed(const StoredWeight& table, std::span<const int32_t> ids) {
  Matrix out(ids.size(), table.cols);
  for (int64_t r = 0; r < out.rows; ++r) {
    const std::vector<float> row = table.Row(ids[r]);
    std::copy(row.begin(), row.end(), out.values.begin() + r * out.cols);
  }
  return out;
}

Matrix RmsNorm(std::span<const float> x, std::span<const float> gain, float eps, Matrix* bound) {
  const int64_t cols = gain.size();
  Matrix out(x.size() / cols, cols);
  if (bound != nullptr) *bound = out;
  for (int64_t r = 0; r < out.rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < cols; ++c) squares += static_cast<double>(x[r * cols + c]) * x[r * cols + c];
    const double scale = 1.0 / std::sqrt(squares / cols + eps);
    for (int64_t c = 0; c < cols; ++c) {
      out.At(r, c) = x[r * cols + c] * scale * gain[c];
      // The sum's relative error is halved by the root; then the scale and two products are rounded.
      if (bound != nullptr) bound->At(r, c) = ((cols + 2) / 2.0 + 3) * kRounding * std::abs(out.At(r, c));
    }
  }
  return out;
}

Matrix LinearFloat(std::span<const float> x, const StoredWeight& weight, Matrix* bound) {
  const int64_t cols = weight.cols;
  Matrix out(x.size() / cols, weight.rows);
  if (bound != nullptr) *bound = out;
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> w = weight.Row(n);
    for (int64_t r = 0; r < out.rows; ++r) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t k = 0; k < cols; ++k) {
        const double product = static_cast<double>(w[k]) * x[r * cols + k];
        sum += product;
        magnitude += std::abs(product);
      }
      out.At(r, n) = sum;
      if (bound != nullptr) bound->At(r, n) = (cols + 1) * kRounding * magnitude;
    }
  }
  return out;
}

Matrix LinearInteger(std::span<const float> x, const StoredWeight& weight, int most, Matrix* bound) {
  const kernels::QuantFormat format = kernels::FormatOf(weight.type);
  const int64_t cols = weight.cols;
  const int64_t units = cols / kBlock;
  Matrix out(x.size() / cols, weight.rows);
  if (bound != nullptr) *bound = out;
  std::vector<IntegerBlock> activations;
  for (size_t i = 0; i < x.size(); i += kBlock) activations.push_back(QuantizeBlock(x.data() + i, most));
  // Every sub-block of a unit is one term, and a second one where there are minimums; each is added by an fma. A term's
  // own roundings: the integer sum's conversion, the product of the scales (or scale times sum of activations).
  const double terms = static_cast<double>(cols / format.sub_block * (format.has_minimum ? 2 : 1));
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<kernels::QuantBlock> blocks = weight.Blocks(n);
    for (int64_t r = 0; r < out.rows; ++r) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t k = 0; k < cols; k += format.sub_block) {
        const kernels::QuantBlock& block = blocks[k / format.block];
        const IntegerBlock& a = activations[r * units + k / kBlock];
        const int s = static_cast<int>(k % format.block) / format.sub_block;
        int64_t dot = 0;
        int64_t quants = 0;
        for (int i = 0; i < format.sub_block; ++i) {
          const uint8_t q = block.quants[s * format.sub_block + i];
          const int value = format.has_table ? kernels::kIq4Values[q] : q - format.offset;
          dot += static_cast<int64_t>(a.quants[k % kBlock + i]) * value;
          quants += a.quants[k % kBlock + i];
        }
        const double product = static_cast<double>(kernels::HalfToFloat(block.scale)) * block.scales[s] * a.scale *
                               static_cast<double>(dot);
        sum += product;
        magnitude += std::abs(product);
        if (!format.has_minimum) continue;
        const double shift = static_cast<double>(kernels::HalfToFloat(block.minimum)) * block.minimums[s] *
                             (static_cast<double>(a.scale) * static_cast<double>(quants));
        sum += shift;
        magnitude += std::abs(shift);
      }
      out.At(r, n) = sum;
      if (bound != nullptr) bound->At(r, n) = (terms + 3) * kRounding * magnitude;
    }
  }
  return out;
}

Matrix IntegerError(std::span<const float> x, const StoredWeight& weight, int most) {
  const int64_t cols = weight.cols;
  Matrix out(x.size() / cols, weight.rows);
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> w = weight.Row(n);
    for (int64_t r = 0; r < out.rows; ++r) {
      for (int64_t b = 0; b < cols / kBlock; ++b) {
        double weights = 0;
        for (int i = 0; i < kBlock; ++i) weights += std::abs(w[b * kBlock + i]);
        // Half a step for every activation, and the roundings of the step itself.
        out.At(r, n) += QuantizeBlock(x.data() + r * cols + b * kBlock, most).scale * (0.5 + 1e-4) * weights;
      }
    }
  }
  return out;
}

Matrix LinearIn(kernels::DType compute, std::span<const double> x, bool rounded_x, const StoredWeight& weight,
                Matrix* bound) {
  const int64_t cols = weight.cols;
  Matrix out(x.size() / cols, weight.rows);
  *bound = out;
  const bool exact = weight.type == compute;
  const double deviation = Deviation(compute);
  const double variance_of_one = (exact ? 0 : deviation * deviation) + (rounded_x ? deviation * deviation : 0);
  // Device sums truncate where the CPU's round, and take several roundings per product of a quantised weight; a weight
  // that is a small difference of scale times code and minimum is as exact as the largest of its row.
  const bool device = compute != kernels::DType::kF32;
  const double float_error = (cols + 1) * (device ? 4 * kRounding : kRounding);
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> w = weight.Row(n);
    double largest = 0;
    for (const float value : w) largest = std::max(largest, static_cast<double>(std::abs(value)));
    for (int64_t r = 0; r < out.rows; ++r) {
      double sum = 0, magnitude = 0, variance = 0, inputs = 0;
      for (int64_t k = 0; k < cols; ++k) {
        const double product = w[k] * x[r * cols + k];
        sum += product;
        magnitude += std::abs(product);
        variance += product * product * variance_of_one;
        inputs += std::abs(x[r * cols + k]);
      }
      if (device && kernels::IsQuantized(weight.type)) magnitude = 2 * largest * inputs;
      double& b = bound->At(r, n);
      b = kDeviations * std::sqrt(variance) + float_error * magnitude;
      if (compute == kernels::DType::kF16 && !exact) b += inputs * 0x1p-25;  // weights below its normal range
      out.At(r, n) = sum;
    }
  }
  return out;
}

Matrix GatedProduct(const Matrix& gate, const Matrix& gate_bound, const Matrix& up, const Matrix& up_bound,
                    Matrix* bound) {
  Matrix out(gate.rows, gate.cols);
  *bound = out;
  for (size_t i = 0; i < out.values.size(); ++i) {
    const double g = gate.values[i], silu = g / (1 + std::exp(-g));
    out.values[i] = silu * up.values[i];
    // The slope of silu is at most 1.1; then as in SiluMul.
    bound->values[i] = 1.1 * gate_bound.values[i] * (std::abs(up.values[i]) + up_bound.values[i]) +
                       std::abs(silu) * up_bound.values[i] + 9 * kRounding * std::abs(out.values[i]);
  }
  return out;
}

void AddRounding(kernels::DType type, const Matrix& result, Matrix& bound) {
  if (type == kernels::DType::kF32) return;
  const double smallest = type == kernels::DType::kF16 ? 0x1p-25 : 0;
  for (size_t i = 0; i < result.values.size(); ++i) {
    bound.values[i] += Unit(type) * (std::abs(result.values[i]) + bound.values[i]) + smallest;
  }
}

Matrix SiluMul(std::span<const float> gate, std::span<const float> up, Matrix* bound) {
  Matrix out(1, gate.size());
  if (bound != nullptr) *bound = out;
  for (int64_t i = 0; i < out.cols; ++i) {
    const double g = gate[i];
    out.At(0, i) = g / (1.0 + std::exp(-g)) * up[i];
    // The exponential is within 2 units, then four roundings; far below zero both are as good as zero.
    if (bound != nullptr) bound->At(0, i) = 9 * kRounding * std::abs(out.At(0, i)) + 1e-35 * std::abs(g * up[i]);
  }
  return out;
}

Score ScoreTarget(std::span<const float> logits, int32_t target) {
  Score score;
  const auto top = std::max_element(logits.begin(), logits.end());
  const double largest = *top;
  score.top_id = static_cast<int32_t>(top - logits.begin());
  float second = -INFINITY;
  double total = 0;
  double spread = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (static_cast<int32_t>(i) != score.top_id) second = std::max(second, logits[i]);
    const double weight = std::exp(logits[i] - largest);
    total += weight;
    if (weight > 0) spread += weight * (largest - logits[i]);
  }
  score.top_margin = *top - second;
  if (target < 0) return score;
  score.logprob = logits[target] - largest - std::log(total);
  // Each exponential: 2 units and the rounding of its argument; partial sums of at most 80 terms; the result.
  score.bound = (84 + spread / total) * kRounding + kRounding * std::abs(score.logprob);
  return score;
}

}  // namespace cascade::reference
