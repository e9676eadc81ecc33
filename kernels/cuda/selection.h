// Who stays in groups of candidates, by a block (kernels/cpu/selection.h).
#pragma once

#include "kernels/cache_shape.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

// Shared memory of SelectHalves: two floats and two 16-bit places per candidate.
inline constexpr int kSelectionBytes = 2 * sizeof(float) + 2 * sizeof(uint16_t);

// How many of a group come before its member i: larger ones, and of equal ones the later. Counting takes as many steps
// as the group has members, whatever their order, and every member is ranked at once.
template <class T>
__device__ inline int PlaceInGroup(const T* group, int i, int size) {
  const T value = group[i];
  int before = 0;
  for (int j = 0; j < size; ++j) before += group[j] > value || (group[j] == value && j > i);
  return before;
}

// Of every `group_size` consecutive of `count` candidates half stay: their indices [count / 2], ascending, in shared
// memory. `shared` holds their scores [count] and distinctness [count] and has kSelectionBytes for each; overwritten.
// Exactly half stay also when measures are NaN. By the block, which has kThreads; begins and ends with SyncBlock.
template <int kThreads>
__device__ inline const int* SelectHalves(int count, int group_size, int selection, unsigned char* shared) {
  float* measures = reinterpret_cast<float*>(shared);                    // [2][count]
  uint16_t* places = reinterpret_cast<uint16_t*>(measures + 2 * count);  // [2][count]
  const int thread = static_cast<int>(threadIdx.x);
  SyncBlock();
  const int first = selection == static_cast<int>(Selection::kDistinctness) ? 1 : 0;
  const int last = selection == static_cast<int>(Selection::kAttention) ? 0 : 1;
  for (int index = first * count + thread; index < (last + 1) * count; index += kThreads) {
    const int i = index < count ? index : index - count;
    const int in_group = i % group_size;
    places[index] = static_cast<uint16_t>(PlaceInGroup(measures + index - in_group, in_group, group_size));
  }
  SyncBlock();
  int* keys = reinterpret_cast<int*>(measures);  // the largest stay; integers, so their places are a permutation
  for (int i = thread; i < count; i += kThreads) {
    const int a = places[first * count + i];
    const int b = places[last * count + i];
    keys[i] = first == last ? -a : -((a < b ? a : b) * 2 * group_size + a + b);
  }
  SyncBlock();
  for (int i = thread; i < count; i += kThreads) {
    const int in_group = i % group_size;
    places[i] = PlaceInGroup(keys + i - in_group, in_group, group_size) < group_size / 2;
  }
  SyncBlock();
  int* kept = keys + count;
  if (thread < 32) {
    int num_kept = 0;
    for (int begin = 0; begin < count; begin += 32) {
      const bool stays = begin + thread < count && places[begin + thread] != 0;
      const uint32_t all = Ballot(stays);
      if (stays) kept[num_kept + __popc(all & ((1u << thread) - 1))] = begin + thread;
      num_kept += __popc(all);
    }
  }
  SyncBlock();
  return kept;
}

}  // namespace cascade::kernels::cuda
