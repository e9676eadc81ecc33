// Steps on every back end: ids that only the device knows, dead rows, several steps in flight, recorded ops.
#include <cmath>
#include <numeric>

#include "tests/kernels/backend_under_test.h"
#include "tests/support/compare.h"

namespace cascade::kernels {
namespace {

constexpr int kVocabulary = 24, kHidden = 32, kSlots = 4, kEndId = 5;

// A model of one layer that does every op: embed, normalise, project, attend, project back, logits, sample.
class SmallModel {
 public:
  SmallModel(Backend& backend, const BackendUnderTest& under_test, std::mt19937 random)
      : backend_(backend), test_case_(MakeCase("", 16, 2, {8, 4}, 4, 2)) {
    if (under_test.narrow_cache) test_case_.shape.kv_type = DType::kBF16;
    test_case_.shape.num_layers = 1;
    const auto load = [&](int rows, int cols) { return Load(backend, RandomWeight(random, DType::kF16, rows, cols)); };
    table_ = load(kVocabulary, kHidden), gain_ = load(1, kHidden), q_weight_ = load(64, kHidden);
    k_weight_ = load(32, kHidden), v_weight_ = load(32, kHidden), o_weight_ = load(kHidden, 64);
    head_ = load(kVocabulary, kHidden);
    const auto allocate = [&](int cols, Precision precision) {
      return backend.Allocate(kSlots, cols, precision).value();
    };
    x_ = allocate(kHidden, Precision::kFull), logits_ = allocate(kVocabulary, Precision::kFull);
    h_ = allocate(kHidden, Precision::kCompute), q_ = allocate(64, Precision::kCompute);
    k_ = allocate(32, Precision::kCompute), v_ = allocate(32, Precision::kCompute);
    attended_ = allocate(64, Precision::kCompute);
    const std::vector<int32_t> end_ids = {kEndId};
    backend.SetEndIds(end_ids);
    EXPECT_TRUE(backend.CreateCaches(test_case_.shape, kSlots, kSlots).ok());
    for (int slot = 0; slot < kSlots; ++slot) scripts_.emplace_back(test_case_);
  }

  // One row of each of `slots`, fed with `ids`. The logits are the model's, or those of `forced`, which choose
  // themselves (no value: greedily what the model says).
  void Step(std::vector<int> slots, const std::vector<int32_t>& ids, const std::vector<int32_t>& forced, int recording,
            std::vector<float>* logits = nullptr) {
    if (backend_.max_steps_in_flight() < 2) recording = -1;  // as the engine does
    const int rows = static_cast<int>(slots.size());
    std::vector<std::vector<Segment>> segments(rows);
    std::vector<Slice> slices;
    std::vector<SampleRequest> requests;
    for (int row = 0; row < rows; ++row) {
      slices.push_back(scripts_[slots[row]].NextSlice(1, segments[row]));
      slices.back().slot = slots[row];
      slices.back().first_row = row;
      requests.push_back({.slot = slots[row], .temperature = 0});
    }
    backend_.BeginStep({.slices = slices, .ids = ids, .samples = requests});
    if (backend_.BeginOps(recording)) {
      RunOps(recording >= 0 ? recording : rows, forced.empty());
      backend_.EndOps();
    }
    if (logits != nullptr) {
      logits->assign(rows * kVocabulary, NAN);
      backend_.CopyToHost(logits_.Rows(rows), *logits);
    }
    if (!forced.empty()) {
      std::vector<float> chosen(rows * kVocabulary, 0.0f);
      for (int row = 0; row < rows; ++row) chosen[row * kVocabulary + forced[row]] = 1;
      backend_.CopyFromHost(chosen, logits_.Rows(rows));
      backend_.Sample(logits_.Rows(rows), kVocabulary, 0);
    }
    std::vector<Close> closes;
    std::vector<std::vector<CloseMove>> moves(rows);
    for (int row = 0; row < rows; ++row) {
      CacheScript& script = scripts_[slots[row]];
      script.Advance(1);
      if (!script.StrideIsFull()) continue;
      closes.push_back(script.CloseStride(moves[row]));
      closes.back().slot = slots[row];
    }
    backend_.CloseStrides(closes);
    backend_.EndStep();
  }
  std::vector<int32_t> Wait() {
    std::vector<int32_t> sampled;
    const absl::Status status = backend_.WaitStep(sampled);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return sampled;
  }
  HeadContents Read(int slot) { return backend_.ReadHead(slot, 0, 1).value(); }
  CacheScript& script(int slot) { return scripts_[slot]; }

 private:
  void RunOps(int rows, bool sample) {
    const TensorView x = x_.Rows(rows), h = h_.Rows(rows), q = q_.Rows(rows), k = k_.Rows(rows), v = v_.Rows(rows);
    backend_.Embed(table_, x);
    const LinearTarget targets[] = {
        {.weight = q_weight_, .out = q}, {.weight = k_weight_, .out = k}, {.weight = v_weight_, .out = v}};
    backend_.NormLinear(x, gain_, 1e-5f, h, targets);
    backend_.AppendAndAttend(0, q, k, v, attended_.Rows(rows));
    const LinearTarget back{.weight = o_weight_, .out = x, .accumulate = true};
    backend_.Linear(attended_.Rows(rows), {&back, 1});
    const LinearTarget head{.weight = head_, .out = logits_.Rows(rows)};
    backend_.NormLinear(x, gain_, 1e-5f, h, {&head, 1});
    if (sample) backend_.Sample(logits_.Rows(rows), kVocabulary, 0);
  }

  Backend& backend_;
  CacheCase test_case_;
  WeightId table_, gain_, q_weight_, k_weight_, v_weight_, o_weight_, head_;
  TensorView x_, h_, q_, k_, v_, attended_, logits_;
  std::vector<CacheScript> scripts_;
};

class StepTest : public BackendTest {};

void ExpectSameHead(const HeadContents& a, const HeadContents& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.scores, b.scores);
  EXPECT_EQ(a.distinctness, b.distinctness);
}

// Feeding what the device remembers is feeding that id.
TEST_P(StepTest, SampledIdsAreFedWithoutTheHost) {
  const auto backend = Create(), other = Create();
  if (backend->max_steps_in_flight() < 2) return;  // it does not know kSampledId
  SmallModel model(*backend, GetParam(), random_), expected(*other, GetParam(), random_);
  const std::vector<int> slots = {2, 0, 3};
  std::vector<int32_t> ids = {1, 2, 3}, own_ids = ids;
  std::vector<std::vector<float>> logits(9), expected_logits(9);
  std::vector<std::vector<int32_t>> sampled, expected_sampled;
  for (int step = 0; step < 9; ++step) {
    // One step is always ended and not yet waited for. No id ends a reply.
    const std::vector<int32_t> forced = {(step * 7) % 5, 6 + step, 20 - step};
    model.Step(slots, ids, forced, -1, &logits[step]);
    if (step > 0) sampled.push_back(model.Wait());
    ids = {kSampledId, kSampledId, kSampledId};
    expected.Step(slots, own_ids, forced, -1, &expected_logits[step]);
    own_ids = expected.Wait();
    expected_sampled.push_back(own_ids);
  }
  sampled.push_back(model.Wait());
  EXPECT_EQ(sampled, expected_sampled);
  EXPECT_EQ(logits, expected_logits);
  for (const int slot : slots) ExpectSameHead(model.Read(slot), expected.Read(slot));
}

TEST_P(StepTest, DeadRowsChangeNothing) {
  const auto backend = Create();
  if (backend->max_steps_in_flight() < 2) return;
  SmallModel model(*backend, GetParam(), random_);
  const std::vector<int> slots = {0, 1};
  // Two sinks and three of four tokens of a stride; the last step chooses an end id for slot 0.
  for (int step = 0; step < 5; ++step) {
    model.Step(slots, {1, 1}, {step == 4 ? kEndId : 7, 8}, -1);
    EXPECT_EQ(model.Wait(), (std::vector<int32_t>{step == 4 ? kEndId : 7, 8}));
  }
  const HeadContents before = model.Read(0), other_before = model.Read(1);
  for (const int recording : {-1, 2}) {
    const CacheScript script = model.script(0);
    // Fills the stride, which closes.
    model.Step(slots, {kSampledId, kSampledId}, recording < 0 ? std::vector<int32_t>{9, 10} : std::vector<int32_t>{},
               recording);
    const std::vector<int32_t> sampled = model.Wait();
    EXPECT_EQ(sampled[0], kNoId);
    EXPECT_NE(sampled[1], kNoId);
    ExpectSameHead(model.Read(0), before);
    model.script(0) = script;
    if (recording >= 0) continue;
    EXPECT_EQ(sampled[1], 10);
    // The other one has closed its stride.
    const HeadContents other = model.Read(1);
    EXPECT_EQ(other_before.distinctness[1][0], 0.0f);
    EXPECT_NE(other.distinctness[1][0], 0.0f);
  }
  // An id that the host gives revives the slot.
  model.Step(slots, {3, 3}, {11, 12}, -1);
  EXPECT_EQ(model.Wait(), (std::vector<int32_t>{11, 12}));
  const HeadContents after = model.Read(0);
  EXPECT_NE(after.distinctness[1][0], 0.0f);
  EXPECT_EQ(after.tokens[1][3], 5u);
}

TEST_P(StepTest, RecordedStepsHaveTheSameBits) {
  const auto backend = Create(), other = Create();
  SmallModel model(*backend, GetParam(), random_), expected(*other, GetParam(), random_);
  for (int step = 0; step < 12; ++step) {
    const std::vector<int32_t> ids = {step, 2 * step % kVocabulary, 7, 8};
    std::vector<float> logits, expected_logits;
    model.Step({0, 1, 2, 3}, ids, {}, 4, &logits);
    expected.Step({0, 1, 2, 3}, ids, {}, -1, &expected_logits);
    EXPECT_EQ(model.Wait(), expected.Wait());
    ASSERT_EQ(BitDifferences(logits, expected_logits, kVocabulary), "") << step;
  }
  for (int slot = 0; slot < kSlots; ++slot) ExpectSameHead(model.Read(slot), expected.Read(slot));
}

// Steps that were ended and not waited for are seen, and what the slot held before is not.
TEST_P(StepTest, ACopiedSlotIsTheOther) {
  const auto backend = Create();
  SmallModel model(*backend, GetParam(), random_);
  for (int step = 0; step < 9; ++step) model.Step({0, 1, 2, 3}, {step, 7, 8, 9}, {}, 4), model.Wait();
  const int in_flight = std::min(2, backend->max_steps_in_flight());
  for (int step = 0; step < in_flight; ++step) model.Step({0, 1}, {step, 3}, {}, 4);
  ASSERT_TRUE(backend->CopySlot(0, 3).ok());
  for (int step = 0; step < in_flight; ++step) model.Wait();
  model.script(3) = model.script(0);
  const HeadContents origin = model.Read(0);
  ExpectSameHead(model.Read(3), origin);
  // They go on apart, and alike.
  const HeadContents other = model.Read(1);
  for (int step = 0; step < 6; ++step) model.Step({3}, {step + 1}, {}, 4), model.Wait();
  ExpectSameHead(model.Read(0), origin);
  ExpectSameHead(model.Read(1), other);
  for (int step = 0; step < 6; ++step) model.Step({0}, {step + 1}, {}, 4), model.Wait();
  ExpectSameHead(model.Read(0), model.Read(3));
}

// All of it gives the same slot again, in another place; and its scores of earlier the slot as it was then, for tokens
// that no stride has closed on.
TEST_P(StepTest, ASlotGoesToHostMemoryAndBack) {
  const auto backend = Create();
  SmallModel model(*backend, GetParam(), random_);
  for (int step = 0; step < 9; ++step) model.Step({0, 1, 2, 3}, {step, 7, 8, 9}, {}, 4), model.Wait();
  const auto host = [&](SlotPart part) { return *backend->AllocateHost(backend->SlotBytes(part)); };
  const auto all = host(SlotPart::kAll), scores = host(SlotPart::kScores);
  const int in_flight = std::min(2, backend->max_steps_in_flight());
  for (int step = 0; step < in_flight; ++step) model.Step({0, 1}, {step, 3}, {}, 4);
  ASSERT_TRUE(backend->ReadSlot(0, SlotPart::kAll, all->bytes())->Wait().ok());
  ASSERT_TRUE(backend->ReadSlot(0, SlotPart::kScores, scores->bytes())->Wait().ok());
  for (int step = 0; step < in_flight; ++step) model.Wait();
  const HeadContents origin = model.Read(0), other = model.Read(1);
  ASSERT_TRUE(backend->WriteSlot(3, SlotPart::kAll, all->bytes())->Wait().ok());
  model.script(3) = model.script(0);
  ExpectSameHead(model.Read(3), origin);
  // They go on alike.
  for (int step = 0; step < 6; ++step) model.Step({0, 3}, {step + 1, step + 1}, {}, 4), model.Wait();
  ExpectSameHead(model.Read(3), model.Read(0));
  ExpectSameHead(model.Read(1), other);
  // Scores alone.
  ASSERT_TRUE(backend->WriteSlot(2, SlotPart::kAll, all->bytes())->Wait().ok());
  ASSERT_TRUE(backend->WriteSlot(2, SlotPart::kScores, std::vector<std::byte>(scores->bytes().size()))->Wait().ok());
  for (const std::vector<float>& segment : model.Read(2).scores) {
    for (const float score : segment) EXPECT_EQ(score, 0.0f);
  }
  ASSERT_TRUE(backend->WriteSlot(2, SlotPart::kScores, scores->bytes())->Wait().ok());
  ExpectSameHead(model.Read(2), origin);
}

// A recording of more rows than a step has does nothing in the rest.
TEST_P(StepTest, RecordingsMayHaveMoreRows) {
  const auto backend = Create(), other = Create();
  SmallModel model(*backend, GetParam(), random_), expected(*other, GetParam(), random_);
  // All slots hold something.
  for (int step = 0; step < 3; ++step) {
    model.Step({0, 1, 2, 3}, {1, 2, 3, 4}, {}, 4), model.Wait();
    expected.Step({0, 1, 2, 3}, {1, 2, 3, 4}, {}, 4), expected.Wait();
  }
  const HeadContents idle = model.Read(3);
  for (int step = 0; step < 9; ++step) {
    const std::vector<int> slots = step % 2 == 0 ? std::vector<int>{2, 0, 1} : std::vector<int>{1, 2};
    const std::vector<int32_t> ids(slots.size(), step);
    std::vector<float> logits, expected_logits;
    model.Step(slots, ids, {}, 4, &logits);
    expected.Step(slots, ids, {}, -1, &expected_logits);
    const std::vector<int32_t> sampled = model.Wait(), expected_sampled = expected.Wait();
    ASSERT_EQ(sampled.size(), slots.size());
    if (GetParam().row_invariant) {
      EXPECT_EQ(sampled, expected_sampled);
      ASSERT_EQ(BitDifferences(logits, expected_logits, kVocabulary), "") << step;
      continue;
    }
    // Another number of blocks shares a session: sums in another order, then roundings to the compute type.
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected_logits[i], 0.1f) << step << ", " << i;
  }
  ExpectSameHead(model.Read(3), idle);
}

INSTANTIATE_TEST_SUITE_P(Backends, StepTest, testing::ValuesIn(BackendsUnderTest()), NameOfBackend);

}  // namespace
}  // namespace cascade::kernels
