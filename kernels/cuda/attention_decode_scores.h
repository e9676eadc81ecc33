// The scores that one row adds, from its logits: the end of decode attention.
#pragma once

#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/step_tables.h"

namespace cascade::kernels::cuda {

// Logits in base 2 by query head and key; keys are numbered by unit and place.
struct LogitRows {
  const float* near;  // [G][near_stride]: keys below near_keys
  int near_keys;
  int near_stride;
  const float* far;  // [G][far_stride]
  int far_stride;

  __device__ float At(int g, int key) const {
    return key < near_keys ? near[g * near_stride + key] : far[static_cast<size_t>(g) * far_stride + key];
  }
};

// exp2(logit - maximum) * inverse is the probability.
struct RowSoftmax {
  float maximum[kMaxGroup];
  float inverse[kMaxGroup];
};

struct ScoreTarget {
  const CacheLayout& layout;
  unsigned char* block;  // of the (slot, layer, KV head)
  int new_entry;         // starts from 0, whatever is stored
  bool opens;            // the row is the first of its stride
  float weight;

  __device__ float* scores() const { return reinterpret_cast<float*>(block + layout.scores_offset); }
  __device__ float* sums() const { return reinterpret_cast<float*>(block + layout.sums_offset); }
};

// kBatch keys of a thread, with kHeads query heads at a time: the loads of all go before the first use.
template <int kBatch, int kHeads>
class ScoreBatch {
 public:
  // Of units first_unit + thread / 16 + i * (threads / 16) below `end`, the key at place thread % 16. logit_unit: the
  // one whose logits come first.
  __device__ void Load(const ScoreTarget& target, const VisiblePieces& visible, UnitWalk& walk, int first_unit, int end,
                       int logit_unit) {
    const int thread = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x) / kUnitKeys;
    const int place = thread % kUnitKeys;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = first_unit + thread / kUnitKeys + i * step;
      entry_[i] = -1;
      key_[i] = (index - logit_unit) * kUnitKeys + place;
      old_[i] = 0;
      if (index >= end) continue;
      const Unit unit = walk.At(visible, index);
      if (unit.segment == 0 || place >= unit.keys) continue;
      entry_[i] = unit.entry + place;
      if (!target.layout.max_reduction && entry_[i] != target.new_entry) {
        old_[i] = target.scores()[entry_[i]] * (target.opens ? target.layout.stride_decay : 1.0f);
      }
    }
  }

  __device__ void Add(const ScoreTarget& target, const LogitRows& logits, const RowSoftmax& softmax) {
    if (target.layout.max_reduction) return AddSums(target, logits, softmax);
    float total[kBatch] = {};
    for (int first = 0; first < target.layout.group; first += kHeads) {
      float found[kHeads][kBatch];
#pragma unroll
      for (int j = 0; j < kHeads; ++j) {
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const bool there = first + j < target.layout.group && entry_[i] >= 0;
          found[j][i] = there ? logits.At(first + j, key_[i]) : -__builtin_huge_valf();
        }
      }
#pragma unroll
      for (int j = 0; j < kHeads; ++j) {
        if (first + j >= target.layout.group) break;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          total[i] += Exp2(found[j][i] - softmax.maximum[first + j]) * softmax.inverse[first + j];
        }
      }
    }
    const float factor = target.weight / static_cast<float>(target.layout.group);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (entry_[i] >= 0) target.scores()[entry_[i]] = old_[i] + factor * total[i];
    }
  }

 private:
  __device__ void AddSums(const ScoreTarget& target, const LogitRows& logits, const RowSoftmax& softmax) {
    for (int g = 0; g < target.layout.group; ++g) {
      float* sums = target.sums() + static_cast<size_t>(g) * target.layout.entries;
      float total[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (entry_[i] < 0) continue;
        total[i] = target.opens || entry_[i] == target.new_entry ? 0 : sums[entry_[i]];
        total[i] += target.weight * Exp2(logits.At(g, key_[i]) - softmax.maximum[g]) * softmax.inverse[g];
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (entry_[i] >= 0) sums[entry_[i]] = total[i];
      }
    }
  }

  int entry_[kBatch];  // -1: none
  int key_[kBatch];
  float old_[kBatch];
};

}  // namespace cascade::kernels::cuda
