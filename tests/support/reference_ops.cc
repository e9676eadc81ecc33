#include "tests/support/reference_ops.h"

#include <algorithm>
#include <cmath>

#include "kernels/dequantize.h"

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
  const int64_t cols = weight.cols;
  const int64_t blocks = cols / kBlock;
  Matrix out(x.size() / cols, weight.rows);
  if (bound != nullptr) *bound = out;
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> w = weight.Row(n);
    const std::string row_bytes = weight.bytes.substr(n * kernels::RowBytes(weight.type, cols));
    for (int64_t r = 0; r < out.rows; ++r) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        const IntegerBlock a = QuantizeBlock(x.data() + r * cols + b * kBlock, most);
        // A Q4_1 block enters as scale * q and minimum: two terms that may cancel, so both count.
        double minimum = 0;
        if (weight.type == kernels::DType::kQ4_1) {
          const auto* block = reinterpret_cast<const uint8_t*>(row_bytes.data()) + b * kernels::BlockBytes(weight.type);
          minimum = kernels::HalfToFloat(static_cast<uint16_t>(block[2] | block[3] << 8));
        }
        double products = 0;
        int quants = 0;
        for (int i = 0; i < kBlock; ++i) {
          products += static_cast<double>(a.scale) * a.quants[i] * w[b * kBlock + i];
          quants += a.quants[i];
        }
        const double shift = minimum * a.scale * quants;
        sum += products;
        // The reference's own weights are rounded once (Q4_1), hence the sum over all |w|.
        double rounded_weights = 0;
        for (int i = 0; i < kBlock; ++i) rounded_weights += std::abs(a.scale * a.quants[i] * w[b * kBlock + i]);
        magnitude += std::abs(products - shift) + std::abs(shift) + rounded_weights / (2.0 * blocks);
      }
      out.At(r, n) = sum;
      if (bound != nullptr) bound->At(r, n) = (2 * blocks + 3) * kRounding * magnitude;
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
