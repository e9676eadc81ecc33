#include "tests/support/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cascade::kernels {
namespace {

int SegmentSlots(const CacheShape& shape, int segment) {
  return segment == 0 ? shape.num_sinks : shape.ring_slots[segment - 1];
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

ReferenceCache::ReferenceCache(const CacheShape& shape)
    : shape_(shape), entries_(shape.num_layers * shape.num_kv_heads) {
  const std::vector<double> zeros(shape.head_dim, 0.0);
  for (auto& head : entries_) {
    for (int s = 0; s <= shape.num_rings(); ++s) {
      head.emplace_back(SegmentSlots(shape, s), Entry{zeros, zeros, std::vector<double>(shape.group, 0.0)});
    }
  }
}

double ReferenceCache::Round(double x) const {
  const float narrow = static_cast<float>(x);
  if (shape_.kv_type == DType::kF32 || narrow == 0) return narrow;
  const double step = std::ldexp(1.0, std::max(std::ilogb(narrow), -14) - 10);  // 11 significant bits, or subnormal
  return std::clamp(std::nearbyint(narrow / step) * step, -65504.0, 65504.0);
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
      for (double& x : entry.key) x = Round(x);
      for (double& x : entry.value) x = Round(x);
      entry.mass.assign(shape_.group, 0.0);
      entry.score = entry.distinctness = 0;
      entry.token = static_cast<uint32_t>(slice.first_token + row);
    }
  }
}

std::vector<double> ReferenceCache::Attend(const Slice& slice, int layer, const float* q) {
  const int heads = shape_.num_kv_heads * shape_.group;
  std::vector<double> out(int64_t{slice.num_rows} * heads * shape_.head_dim, 0.0);
  for (int row = 0; row < slice.num_rows; ++row) {
    for (int h = 0; h < heads; ++h) {
      const int64_t offset = (int64_t{row} * heads + h) * shape_.head_dim;
      const std::vector<double> query(q + offset, q + offset + shape_.head_dim);
      std::vector<Entry*> seen;
      std::vector<double> p;
      size_t num_sinks = 0;
      for (int s = 0; s <= shape_.num_rings(); ++s) {
        const Segment& segment = slice.segments[s];
        const std::vector<double> turned = Turned(query, segment.query_position + row);
        for (uint32_t i = 0; i < segment.count + (segment.grows ? row : 0); ++i) {
          Entry& entry =
              At(layer, h / shape_.group, s, static_cast<int>((segment.first_slot + i) % SegmentSlots(shape_, s)));
          seen.push_back(&entry);
          p.push_back(std::inner_product(turned.begin(), turned.end(), entry.key.begin(), 0.0) /
                      std::sqrt(shape_.head_dim));
        }
        if (s == 0) num_sinks = seen.size();
      }
      const double maximum = *std::max_element(p.begin(), p.end());
      for (double& x : p) x = std::exp(x - maximum);
      const double sum = std::accumulate(p.begin(), p.end(), 0.0);
      const double weight = std::pow(shape_.ema_decay, shape_.stride - 1 - (slice.open_place + row));
      for (size_t i = 0; i < seen.size(); ++i) {
        for (int d = 0; d < shape_.head_dim; ++d) out[offset + d] += p[i] / sum * seen[i]->value[d];
        if (i >= num_sinks && !slice.sinks) seen[i]->mass[h % shape_.group] += weight * p[i] / sum;
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

void ReferenceCache::CloseHead(const Close& close, int layer, int kv_head, const Kept& kept) {
  const auto at = [&](int ring, int64_t index) -> Entry& {
    return At(layer, kv_head, ring + 1, static_cast<int>(index % shape_.ring_slots[ring]));
  };
  for (int ring = 0; ring < shape_.num_rings(); ++ring) {
    for (int slot = 0; slot < shape_.ring_slots[ring]; ++slot) {
      Entry& entry = at(ring, slot);
      const double mass = shape_.reduction == ScoreReduction::kMax
                              ? *std::max_element(entry.mass.begin(), entry.mass.end())
                              : std::accumulate(entry.mass.begin(), entry.mass.end(), 0.0) / shape_.group;
      entry.score = entry.score * std::pow(shape_.ema_decay, shape_.stride) + mass;
      std::fill(entry.mass.begin(), entry.mass.end(), 0.0);
    }
  }

  std::vector<std::vector<double>> units;
  std::vector<double> mean(shape_.head_dim, 0.0);
  for (int place = 0; place < shape_.stride; ++place) {
    std::vector<double> key = Turned(at(0, close.stride_index + place).key, -(close.stride_index + place));
    const double norm = Norm(key);
    for (double& x : key) x = norm > 0 ? x / norm : 0;
    for (int d = 0; d < shape_.head_dim; ++d) mean[d] += key[d];
    units.push_back(std::move(key));
  }
  const double norm = Norm(mean);
  for (int place = 0; place < shape_.stride; ++place) {
    const double dot = std::inner_product(mean.begin(), mean.end(), units[place].begin(), 0.0);
    at(0, close.stride_index + place).distinctness = 1 - (norm > 0 ? dot / norm : 0);
  }

  for (const CloseMove& move : close.moves) {
    const int group = move.select ? 2 * shape_.selection_group : 1;
    int64_t to = move.to_index;
    for (int begin = 0; begin < move.count; begin += group) {
      std::vector<double> scores, distinctness;
      for (int i = 0; i < group; ++i) {
        scores.push_back(at(move.from_ring, move.from_index + begin + i).score);
        distinctness.push_back(at(move.from_ring, move.from_index + begin + i).distinctness);
      }
      std::vector<bool> stays(group, true);
      if (move.select) stays = ReferenceSelection(scores, distinctness, shape_.selection);
      for (int i = 0; i < group; ++i) {
        Entry entry = at(move.from_ring, move.from_index + begin + i);
        if (move.select) {
          const bool was_kept = kept(layer, kv_head, move.to_ring, entry.token);
          ++selections_;
          disagreements_ += was_kept != stays[i];
          if (!was_kept) continue;
        }
        entry.key = Turned(entry.key, to - (move.from_index + begin + i));
        for (double& x : entry.key) x = Round(x);
        at(move.to_ring, to++) = entry;
      }
    }
  }
}

}  // namespace cascade::kernels
