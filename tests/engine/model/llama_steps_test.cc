// Llama over a back end that takes two steps at a time and records them: the ids are those of one step after the other,
// and the ops of a recorded step depend on its number alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/cpu/cpu_device.h"
#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// The CPU's with two steps in flight: they run when they are begun, and the results wait.
class TwoStepBackend final : public kernels::CpuBackend {
 public:
  TwoStepBackend() : CpuBackend(2, kernels::Activations::kFloat32) {}

  std::vector<int> recordings;        // of all steps
  std::map<int, int64_t> embed_rows;  // by recording: rows of its first op

  int max_steps_in_flight() const override { return 2; }
  void BeginStep(const kernels::StepInput& input) override {
    std::vector<int32_t> ids(input.ids.begin(), input.ids.end());
    slots_.clear();
    for (const kernels::SampleRequest& request : input.samples) slots_.push_back(request.slot);
    for (const kernels::Slice& slice : input.slices) {
      int32_t& id = ids[static_cast<size_t>(slice.first_row)];
      if (id == kernels::kSampledId) id = last_.at(slice.slot);
    }
    CpuBackend::BeginStep({.slices = input.slices, .ids = ids, .samples = input.samples});
  }
  bool BeginOps(int recording) override {
    recordings.push_back(recording);
    return true;
  }
  void Embed(kernels::WeightId table, kernels::TensorView out) override {
    if (recordings.back() >= 0) embed_rows[recordings.back()] = out.rows;
    CpuBackend::Embed(table, out);
  }
  void EndStep() override {
    std::vector<int32_t>& sampled = done_.emplace_back();
    EXPECT_TRUE(CpuBackend::WaitStep(sampled).ok());
    for (size_t i = 0; i < sampled.size(); ++i) last_[slots_[i]] = sampled[i];
  }
  absl::Status WaitStep(std::vector<int32_t>& sampled) override {
    sampled = done_.front();
    done_.pop_front();
    return absl::OkStatus();
  }

 private:
  std::map<int, int32_t> last_;
  std::vector<int> slots_;  // of the step's samples
  std::deque<std::vector<int32_t>> done_;
};

// Sessions 0 .. count - 1 that read three ids of their own and go on from there.
class Decoders {
 public:
  Decoders(Model& model, const CascadeGeometry& geometry, int count)
      : model_(model), plans_(static_cast<size_t>(count), CascadePlan(geometry)) {
    for (int slot = 0; slot < count; ++slot) {
      model.ClearSlot(slot);
      while (plans_[static_cast<size_t>(slot)].tokens_seen() < 3) {
        ForwardBatch batch;
        batch.vocabulary = kTinyModelTokens;
        const auto seen = static_cast<int32_t>(plans_[static_cast<size_t>(slot)].tokens_seen());
        Add(batch, slot, (slot * 31 + seen * 7) % kTinyModelTokens);
        EXPECT_TRUE(model.Forward(batch, result_).ok());
      }
      ids_.push_back(result_.sampled.at(0));
    }
  }

  // One step of the first `count`; `known`: their ids are given.
  void Launch(int count, bool known) {
    ForwardBatch batch;
    batch.vocabulary = kTinyModelTokens;
    moves_.clear();
    for (int slot = 0; slot < count; ++slot) {
      Add(batch, slot, known ? ids_[static_cast<size_t>(slot)] : kernels::kSampledId);
    }
    EXPECT_TRUE(model_.Launch(batch).ok());
  }
  std::vector<int32_t> Collect() {
    EXPECT_TRUE(model_.Collect(result_).ok());
    std::copy(result_.sampled.begin(), result_.sampled.end(), ids_.begin());
    return result_.sampled;
  }

 private:
  void Add(ForwardBatch& batch, int slot, int32_t id) {
    CascadePlan& plan = plans_[static_cast<size_t>(slot)];
    kernels::Slice slice = plan.NextSlice(1, segments_.emplace_back());
    slice.slot = slot;
    slice.first_row = static_cast<int>(batch.ids.size());
    batch.slices.push_back(slice);
    batch.ids.push_back(id);
    batch.sample_rows.push_back(slice.first_row);
    kernels::SampleRequest sample;
    sample.slot = slot;
    sample.temperature = slot % 2 ? 1.0f : 0.0f;
    sample.u = 0.37;
    batch.samples.push_back(sample);
    plan.Advance(1);
    if (!plan.StrideIsFull()) return;
    batch.closes.push_back(plan.CloseStride(moves_.emplace_back()));
    batch.closes.back().slot = slot;
  }

  Model& model_;
  std::vector<CascadePlan> plans_;
  std::deque<std::vector<kernels::Segment>> segments_;
  std::deque<std::vector<kernels::CloseMove>> moves_;
  std::vector<int32_t> ids_;
  ForwardResult result_;
};

struct Size {
  int sessions;
  int padded;
};

class LlamaStepsTest : public ::testing::TestWithParam<Size> {};

TEST_P(LlamaStepsTest, TwoInFlightAreTwoInTurn) {
  const int sessions = GetParam().sessions;
  TinyModelOptions options;
  options.vocabulary = 300;  // some of which are not sampled
  const auto source = Open(TinyModel(options));
  ASSERT_TRUE(source.ok()) << source.status();
  const auto geometry =
      MakeGeometry({.cache_tokens = 32, .num_sub_caches = 2, .stride = 8}, (*source)->config().max_positions);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  constexpr int kMaxRows = 85;
  const auto model = [&](kernels::Backend& backend) {
    return Llama::Create(**source, *geometry, kernels::DType::kF32, sessions, kMaxRows, backend).value();
  };
  kernels::CpuBackend plain(1, kernels::Activations::kFloat32);
  TwoStepBackend two;
  const auto llama = model(plain);
  const auto pipelined = model(two);
  EXPECT_EQ(llama->max_steps_in_flight(), 1);
  EXPECT_EQ(pipelined->max_steps_in_flight(), 2);

  Decoders expected(*llama, *geometry, sessions);
  Decoders found(*pipelined, *geometry, sessions);
  EXPECT_THAT(two.recordings, Each(1));  // steps of one row that is sampled from
  two.recordings.clear();
  found.Launch(sessions, /*known=*/true);
  for (int step = 0; step < 30; ++step) {
    found.Launch(sessions, /*known=*/false);
    expected.Launch(sessions, /*known=*/true);
    ASSERT_EQ(found.Collect(), expected.Collect()) << "step " << step;
  }
  found.Collect();
  EXPECT_THAT(two.recordings, Each(GetParam().padded));
  for (const auto& [recording, rows] : two.embed_rows) EXPECT_EQ(rows, recording);
}

// 70: logits come in two parts. 84: no more rows than there are.
INSTANTIATE_TEST_SUITE_P(Sizes, LlamaStepsTest,
                         ::testing::Values(Size{1, 1}, Size{3, 3}, Size{9, 10}, Size{70, 80}, Size{84, 85}),
                         [](const auto& info) { return std::to_string(info.param.sessions); });

// Whatever makes a step unlike the others keeps it from being recorded.
TEST(LlamaSteps, WhatIsNotRecorded) {
  const auto source = Open(TinyModel());
  ASSERT_TRUE(source.ok()) << source.status();
  const auto geometry =
      MakeGeometry({.cache_tokens = 32, .num_sub_caches = 2, .stride = 8}, (*source)->config().max_positions);
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  TwoStepBackend backend;
  const auto llama = Llama::Create(**source, *geometry, kernels::DType::kF32, 1, 8, backend).value();
  const auto run = [&](int rows, const auto& change) {
    llama->ClearSlot(0);
    CascadePlan plan(*geometry);
    std::vector<kernels::Segment> segments;
    ForwardBatch batch;
    batch.ids.assign(static_cast<size_t>(rows), 5);
    batch.slices = {plan.NextSlice(rows, segments)};
    batch.vocabulary = kTinyModelTokens;
    change(batch);
    ForwardResult result;
    EXPECT_TRUE(llama->Forward(batch, result).ok());
  };
  const auto sample = [](ForwardBatch& batch) {
    batch.sample_rows = {static_cast<int32_t>(batch.ids.size()) - 1};
    batch.samples.resize(1);
  };
  run(1, [](ForwardBatch&) {});
  run(2, sample);
  run(1, [&](ForwardBatch& batch) { sample(batch), batch.logit_rows = {0}; });
  run(1, [&](ForwardBatch& batch) { sample(batch), batch.score_rows = {0}, batch.score_targets = {1}; });
  run(1, sample);
  run(1, [&](ForwardBatch& batch) { sample(batch), batch.vocabulary = 7; });
  EXPECT_THAT(backend.recordings, ElementsAre(-1, -1, 1, -1, 1, -1));
}

}  // namespace
}  // namespace cascade
