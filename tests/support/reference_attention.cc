#include "tests/support/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/rounding.h"

namespace cascade::kernels {
namespace {

int SegmentSlots(const CacheShape& shape, int segment) {
  return segment == 0 ? shape.num_sinks : shape.ring_slots[segment - 1];
}

// As a cache of that type holds it; the CPU's float16 saturates.
double Stored(DType type, double x) {
  const double rounded = reference::RoundTo(type, static_cast<float>(x));
  return type == DType::kF16 ? std::clamp(rounded, -65504.0, 65504.0) : rounded;
}

double Norm(const std::vector<double>& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); }

// Places by falling value, the later first among equals.
std::vector<int> Places(const std::vector<double>& values) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return values[a] != values[b] ? values[a] > values[b] : a > b; });
  std::vector<int> places(values.size());
  for (size_t place = 0; place < order.size(); ++place) places[order[place]] = static_cast<int>(place);
  return places;
}

}  // namespace

std::vector<bool> ReferenceSelection(const std::vector<double>& scores, const std::vector<double>& distinctness,
                                     Selection selection) {
  const std::vector<int> a = Places(scores), b = Places(distinctness);
  const int count = static_cast<int>(scores.size());
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int i, int j) {
    if (selection == Selection::kAttention) return a[i] < a[j];
    if (selection == Selection::kDistinctness) return b[i] < b[j];
    if (std::min(a[i], b[i]) != std::min(a[j], b[j])) return std::min(a[i], b[i]) < std::min(a[j], b[j]);
    return a[i] + b[i] != a[j] + b[j] ? a[i] + b[i] < a[j] + b[j] : i > j;
  });
  std::vector<bool> stays(count, false);
  for (int i = 0; i < count / 2; ++i) stays[order[i]] = true;
  return stays;
}

CacheRounding CacheRounding::Of(DType compute, DType kv_type) {
  if (compute == DType::kF32) return {.floor = kv_type == DType::kF32 ? 5e-5 : 2e-3};
  return {.query = reference::Deviation(kv_type),
          .weight = reference::Deviation(kv_type),
          .output = reference::Deviation(compute),
          .key = 2 * reference::Unit(kv_type)};
}

double CacheRounding::Bound(double size, double variance) const {
  return floor * size + reference::kDeviations * std::sqrt(variance);
}

ReferenceCache::ReferenceCache(const CacheShape& shape, const CacheRounding& rounding)
    : shape_(shape), rounding_(rounding), entries_(shape.num_layers * shape.num_kv_heads) {
  const std::vector<double> zeros(shape.head_dim, 0.0), masses(shape.group, 0.0);
  for (auto& head : entries_) {
    for (int s = 0; s <= shape.num_rings(); ++s) {
      head.emplace_back(SegmentSlots(shape, s), Entry{zeros, zeros, masses, masses});
    }
  }
}

std::vector<double> ReferenceCache::Turned(const std::vector<double>& x, int64_t position) const {
  std::vector<double> y(x.size());
  const int half = shape_.head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const bool interleaved = shape_.rope.pairs == RopePairs::kInterleaved;
    const int first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
    const double angle = static_cast<double>(position) * shape_.rope.frequency[i];
    y[first] = x[first] * std::cos(angle) - x[second] * std::sin(angle);
    y[second] = x[first] * std::sin(angle) + x[second] * std::cos(angle);
  }
  return y;
}

void ReferenceCache::Append(const Slice& slice, int layer, const float* k, const float* v) {
  const int segment = slice.sinks ? 0 : 1;
  for (int row = 0; row < slice.num_rows; ++row) {
    const int slot = static_cast<int>((slice.write_slot + row) % SegmentSlots(shape_, segment));
    for (int h = 0; h < shape_.num_kv_heads; ++h) {
      const int64_t offset = (int64_t{row} * shape_.num_kv_heads + h) * shape_.head_dim;
      Entry& entry = At(layer, h, segment, slot);
      entry.key = Turned({k + offset, k + offset + shape_.head_dim}, slice.segments[segment].query_position + row);
      entry.value.assign(v + offset, v + offset + shape_.head_dim);
      for (double& x : entry.key) x = Stored(shape_.kv_type, x);
      for (double& x : entry.value) x = Stored(shape_.kv_type, x);
      entry.mass.assign(shape_.group, 0.0);
      entry.mass_variance.assign(shape_.group, 0.0);
      entry.score = entry.score_variance = entry.distinctness = entry.distinctness_bound = 0;
      entry.token = static_cast<uint32_t>(slice.first_token + row);
    }
  }
}

std::vector<double> ReferenceCache::Attend(const Slice& slice, int layer, const float* q,
                                           std::vector<double>& variance) {
  const int heads = shape_.num_kv_heads * shape_.group;
  std::vector<double> out(int64_t{slice.num_rows} * heads * shape_.head_dim, 0.0);
  variance.assign(out.size(), 0.0);
  for (int row = 0; row < slice.num_rows; ++row) {
    for (int h = 0; h < heads; ++h) {
      const int64_t offset = (int64_t{row} * heads + h) * shape_.head_dim;
      const std::vector<double> query(q + offset, q + offset + shape_.head_dim);
      std::vector<Entry*> seen;
      std::vector<double> p, logit_variance;
      size_t num_sinks = 0;
      for (int s = 0; s <= shape_.num_rings(); ++s) {
        const Segment& segment = slice.segments[s];
        const std::vector<double> turned = Turned(query, segment.query_position + row);
        for (uint32_t i = 0; i < segment.count + (segment.grows ? row : 0); ++i) {
          Entry& entry =
              At(layer, h / shape_.group, s, static_cast<int>((segment.first_slot + i) % SegmentSlots(shape_, s)));
          seen.push_back(&entry);
          double dot = 0, squares = 0;
          for (int d = 0; d < shape_.head_dim; ++d) {
            const double product = turned[d] * entry.key[d];
            dot += product;
            squares += product * product;
          }
          p.push_back(dot / std::sqrt(shape_.head_dim));
          logit_variance.push_back(rounding_.query * rounding_.query * squares / shape_.head_dim);
        }
        if (s == 0) num_sinks = seen.size();
      }
      const double maximum = *std::max_element(p.begin(), p.end());
      for (double& x : p) x = std::exp(x - maximum);
      const double sum = std::accumulate(p.begin(), p.end(), 0.0);
      // A logit that is off by e moves its own probability by p (1 - p) e and each other one by -p p' e.
      double sum_variance = 0;
      for (size_t i = 0; i < p.size(); ++i) {
        p[i] /= sum;
        sum_variance += p[i] * p[i] * logit_variance[i];
      }
      for (size_t i = 0; i < seen.size(); ++i) {
        for (int d = 0; d < shape_.head_dim; ++d) out[offset + d] += p[i] * seen[i]->value[d];
      }
      for (int d = 0; d < shape_.head_dim; ++d) {
        double& v = variance[offset + d];
        for (size_t i = 0; i < seen.size(); ++i) {
          const double away = p[i] * (seen[i]->value[d] - out[offset + d]);
          const double part = p[i] * seen[i]->value[d] * rounding_.weight;
          v += away * away * logit_variance[i] + part * part;
        }
        v += out[offset + d] * out[offset + d] * rounding_.output * rounding_.output;
      }
      if (slice.sinks) continue;
      const double weight = std::pow(shape_.ema_decay, shape_.stride - 1 - (slice.open_place + row));
      for (size_t i = num_sinks; i < seen.size(); ++i) {
        const double part = weight * p[i];
        seen[i]->mass[h % shape_.group] += part;
        seen[i]->mass_variance[h % shape_.group] += part * part * (logit_variance[i] + sum_variance);
      }
    }
  }
  return out;
}

void ReferenceCache::CloseStride(const Close& close, const Kept& kept) {
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    for (int h = 0; h < shape_.num_kv_heads; ++h) CloseHead(close, layer, h, kept);
  }
}

void ReferenceCache::FoldScore(Entry& entry) const {
  const bool maximum = shape_.reduction == ScoreReduction::kMax;
  const double decay = std::pow(shape_.ema_decay, shape_.stride);
  const double mass = maximum ? *std::max_element(entry.mass.begin(), entry.mass.end())
                              : std::accumulate(entry.mass.begin(), entry.mass.end(), 0.0) / shape_.group;
  // A maximum is off by no more than what it is taken of.
  const double variance = maximum ? std::accumulate(entry.mass_variance.begin(), entry.mass_variance.end(), 0.0)
                                  : std::accumulate(entry.mass_variance.begin(), entry.mass_variance.end(), 0.0) /
                                        shape_.group / shape_.group;
  entry.score = entry.score * decay + mass;
  entry.score_variance = entry.score_variance * decay * decay + variance;
  std::fill(entry.mass.begin(), entry.mass.end(), 0.0);
  std::fill(entry.mass_variance.begin(), entry.mass_variance.end(), 0.0);
}

void ReferenceCache::SetDistinctness(const Close& close, int layer, int kv_head) {
  std::vector<std::vector<double>> units;
  std::vector<double> mean(shape_.head_dim, 0.0);
  for (int place = 0; place < shape_.stride; ++place) {
    Entry& entry = AtIndex(layer, kv_head, 0, close.stride_index + place);
    std::vector<double> key = Turned(entry.key, -(close.stride_index + place));
    const double norm = Norm(key);
    for (double& x : key) x = norm > 0 ? x / norm : 0;
    for (int d = 0; d < shape_.head_dim; ++d) mean[d] += key[d];
    // Of a key's elements next to none rounds the other way: one in 2^15, as often as float32's last bit decides. So
    // two do at most, and they turn the unit key by no more than their errors.
    const double largest =
        std::max(*std::max_element(key.begin(), key.end()), -*std::min_element(key.begin(), key.end()));
    entry.distinctness_bound = rounding_.floor + 2 * rounding_.key * largest;
    units.push_back(std::move(key));
  }
  const double norm = Norm(mean);
  for (int place = 0; place < shape_.stride; ++place) {
    const double dot = std::inner_product(mean.begin(), mean.end(), units[place].begin(), 0.0);
    AtIndex(layer, kv_head, 0, close.stride_index + place).distinctness = 1 - (norm > 0 ? dot / norm : 0);
  }
}

bool ReferenceCache::IsClear(const std::vector<const Entry*>& candidates) const {
  for (size_t i = 0; i < candidates.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const Entry &a = *candidates[i], &b = *candidates[j];
      if (shape_.selection != Selection::kDistinctness &&
          std::abs(a.score - b.score) <= ScoreBound(a) + ScoreBound(b)) {
        return false;
      }
      if (shape_.selection != Selection::kAttention &&
          std::abs(a.distinctness - b.distinctness) <= a.distinctness_bound + b.distinctness_bound) {
        return false;
      }
    }
  }
  return true;
}

void ReferenceCache::CloseHead(const Close& close, int layer, int kv_head, const Kept& kept) {
  for (int ring = 0; ring < shape_.num_rings(); ++ring) {
    for (int slot = 0; slot < shape_.ring_slots[ring]; ++slot) FoldScore(At(layer, kv_head, ring + 1, slot));
  }
  SetDistinctness(close, layer, kv_head);
  for (const CloseMove& move : close.moves) {
    const int group = move.select ? 2 * shape_.selection_group : 1;
    int64_t to = move.to_index;
    for (int begin = 0; begin < move.count; begin += group) {
      std::vector<const Entry*> candidates;
      std::vector<double> scores, distinctness;
      for (int i = 0; i < group; ++i) {
        candidates.push_back(&AtIndex(layer, kv_head, move.from_ring, move.from_index + begin + i));
        scores.push_back(candidates.back()->score);
        distinctness.push_back(candidates.back()->distinctness);
      }
      std::vector<bool> stays(group, true);
      if (move.select) stays = ReferenceSelection(scores, distinctness, shape_.selection);
      const bool clear = move.select && IsClear(candidates);
      int wrong = 0;
      for (int i = 0; i < group; ++i) {
        Entry entry = AtIndex(layer, kv_head, move.from_ring, move.from_index + begin + i);
        if (move.select) {
          const bool was_kept = kept(layer, kv_head, move.to_ring, entry.token);
          ++selections_;
          wrong += was_kept != stays[i];
          if (!was_kept) continue;
        }
        entry.key = Turned(entry.key, to - (move.from_index + begin + i));
        for (double& x : entry.key) x = Stored(shape_.kv_type, x);
        AtIndex(layer, kv_head, move.to_ring, to++) = entry;
      }
      disagreements_ += wrong;
      clear_groups_ += clear;
      wrong_clear_groups_ += clear && wrong > 0;
    }
  }
}

}  // namespace cascade::kernels
