#include "tests/support/reference_llama.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/base/check.h"
#include "kernels/dequantize.h"

namespace cascade::reference {
namespace {

using Vector = std::vector<double>;

struct Weight {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;  // [rows, cols]

  Vector Times(const Vector& x) const {
    Vector y(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) y[r] += static_cast<double>(values[r * cols + c]) * x[c];
    }
    return y;
  }
};

Weight Load(const ModelSource& model, const std::string& name) {
  const auto stored = model.FindWeight(name);
  CASCADE_CHECK(stored.ok());
  Weight weight{stored->rows, stored->cols, std::vector<float>(stored->rows * stored->cols)};
  const size_t row_bytes = kernels::RowBytes(stored->type, stored->cols);
  for (int64_t r = 0; r < stored->rows; ++r) {
    kernels::DequantizeRow(stored->type, static_cast<const uint8_t*>(stored->data) + r * row_bytes,
                           weight.values.data() + r * stored->cols, stored->cols);
  }
  return weight;
}

Vector Normalized(const Vector& x, const Weight& gain, float eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * gain.values[i];
  return y;
}

void Add(Vector& x, const Vector& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

// Turns every head of x by its position.
void Rotate(const ModelConfig& config, int64_t position, Vector& x) {
  const size_t dim = static_cast<size_t>(config.head_dim);
  const bool halves = config.rope.pairs == kernels::RopePairs::kHalves;
  for (size_t head = 0; head < x.size(); head += dim) {
    for (size_t i = 0; i < dim / 2; ++i) {
      const size_t a = head + (halves ? i : 2 * i);
      const size_t b = head + (halves ? i + dim / 2 : 2 * i + 1);
      const double angle = static_cast<double>(position) * config.rope.frequency[i];
      const double first = x[a];
      x[a] = first * std::cos(angle) - x[b] * std::sin(angle);
      x[b] = first * std::sin(angle) + x[b] * std::cos(angle);
    }
  }
}

// Of the last query in `q` over all keys and values so far.
Vector Attend(const ModelConfig& config, const Vector& q, const std::vector<Vector>& k, const std::vector<Vector>& v) {
  const size_t dim = static_cast<size_t>(config.head_dim);
  const size_t group = static_cast<size_t>(config.num_heads / config.num_kv_heads);
  Vector out(q.size());
  for (size_t head = 0; head < static_cast<size_t>(config.num_heads); ++head) {
    const size_t kv = head / group * dim;
    Vector weights;
    for (const Vector& key : k) {
      double logit = 0;
      for (size_t d = 0; d < dim; ++d) logit += q[head * dim + d] * key[kv + d];
      weights.push_back(logit / std::sqrt(static_cast<double>(dim)));
    }
    const double most = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - most);
    for (size_t t = 0; t < v.size(); ++t) {
      for (size_t d = 0; d < dim; ++d) out[head * dim + d] += weights[t] / sum * v[t][kv + d];
    }
  }
  return out;
}

}  // namespace

std::vector<double> LastLogits(const ModelSource& model, std::span<const int32_t> ids) {
  const ModelConfig& config = model.config();
  const Weight table = Load(model, "token_embd.weight");
  std::vector<Vector> x;  // [ids][hidden]
  for (const int32_t id : ids) {
    const auto row = table.values.begin() + id * table.cols;
    x.emplace_back(row, row + table.cols);
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto weight = [&](const char* name) { return Load(model, "blk." + std::to_string(layer) + "." + name); };
    const Weight attn_norm = weight("attn_norm.weight"), ffn_norm = weight("ffn_norm.weight");
    const Weight wq = weight("attn_q.weight"), wk = weight("attn_k.weight"), wv = weight("attn_v.weight");
    const Weight wo = weight("attn_output.weight");
    const Weight gate = weight("ffn_gate.weight"), up = weight("ffn_up.weight"), down = weight("ffn_down.weight");
    std::vector<Vector> keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector h = Normalized(x[t], attn_norm, config.rms_eps);
      Vector q = wq.Times(h), k = wk.Times(h), v = wv.Times(h);
      if (config.qkv_bias) {
        const auto add_bias = [&](const char* name, Vector& to) {
          const Weight bias = weight(name);
          Add(to, Vector(bias.values.begin(), bias.values.end()));
        };
        add_bias("attn_q.bias", q);
        add_bias("attn_k.bias", k);
        add_bias("attn_v.bias", v);
      }
      Rotate(config, static_cast<int64_t>(t), q);
      Rotate(config, static_cast<int64_t>(t), k);
      keys.push_back(k);
      values.push_back(v);
      Add(x[t], wo.Times(Attend(config, q, keys, values)));

      const Vector f = Normalized(x[t], ffn_norm, config.rms_eps);
      Vector a = gate.Times(f);
      const Vector b = up.Times(f);
      for (size_t i = 0; i < a.size(); ++i) a[i] = a[i] / (1 + std::exp(-a[i])) * b[i];
      Add(x[t], down.Times(a));
    }
  }
  const Vector last = Normalized(x.back(), Load(model, "output_norm.weight"), config.rms_eps);
  return config.tied_output ? table.Times(last) : Load(model, "output.weight").Times(last);
}

}  // namespace cascade::reference
