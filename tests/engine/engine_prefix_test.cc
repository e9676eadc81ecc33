// One-shot turns that begin with what earlier ones have left: every reply is that of an engine that keeps nothing, and
// the tokens that were found are not read.
#include "tests/engine/engine_prefix_fixture.h"

namespace cascade {
namespace {

TEST_P(EnginePrefixTest, APromptThatGoesOnReadsTheRestAlone) {
  for (const int slots : {1, 2, 4}) {  // taken over, and copied
    options_.num_slots = slots;
    StartBoth();
    TurnRequest request = IdsTurn(Count(0, 50), 10);
    EXPECT_EQ(Cached(request), 0);
    EXPECT_EQ(engine_->SlotsFree(), slots);
    for (int turn = 0; turn < 5; ++turn) {
      const std::vector<int32_t> fed = Fed(request);
      request = IdsTurn(Join(fed, Count(turn, 1 + 7 * turn)), 10);
      EXPECT_EQ(Cached(request), static_cast<int64_t>(fed.size()));
    }
    EXPECT_EQ(engine_->metrics().prefix_turns.load(), 5);
    EXPECT_EQ(engine_->SlotsFree(), slots);
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

TEST_P(EnginePrefixTest, TheSamePromptAgainReadsItsLastToken) {
  StartBoth();
  TurnRequest request = IdsTurn(Count(0, 50), 30);  // strides close within the reply
  request.sampling.temperature = 1;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    request.sampling.seed = seed;
    EXPECT_EQ(Cached(request), seed == 0 ? 0 : 49);
  }
  EXPECT_EQ(engine_->metrics().prefix_hits.load(), 5 * 49);
  EXPECT_EQ(engine_->metrics().prefix_queries.load(), 6 * 50);
}

TEST_P(EnginePrefixTest, WhereverThePromptEndsInItsStride) {
  options_.num_slots = 2;
  for (int length = 33; length < 33 + 2 * 16; ++length) {
    StartBoth();
    TurnRequest request = IdsTurn(Count(0, length), 20);
    request.sampling.temperature = 1;
    for (uint64_t seed = 0; seed < 3; ++seed) {
      request.sampling.seed = seed;
      EXPECT_EQ(Cached(request), seed == 0 ? 0 : length - 1) << length;
    }
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

TEST_P(EnginePrefixTest, OtherPromptsFindNothing) {
  options_.num_slots = 16;
  StartBoth();
  const TurnRequest request = IdsTurn(Count(0, 80), 10);
  EXPECT_EQ(Cached(request), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 70), 2)), 0);   // shorter
  EXPECT_EQ(Cached(IdsTurn(Count(1, 100), 2)), 0);  // shifted
  std::vector<int32_t> changed = Count(0, 100);
  changed[40] = 7;
  EXPECT_EQ(Cached(IdsTurn(changed, 2)), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 20), 5)), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 20), 5)), 0);  // too short to be kept
  TurnRequest others = request;
  others.tenant = "other";
  EXPECT_EQ(Cached(others), 0);
  EXPECT_EQ(Cached(others), 79);
  EXPECT_EQ(Cached(request), 79);
  EXPECT_EQ(engine_->SlotsFree(), 16);
}

TEST_P(EnginePrefixTest, SwitchedOffNothingIsKept) {
  options_.prefix_caching = false;
  StartBoth();
  const TurnRequest request = IdsTurn(Count(0, 80), 10);
  EXPECT_EQ(Cached(request), 0);
  EXPECT_EQ(Cached(request), 0);
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 0);
  EXPECT_EQ(engine_->metrics().prefix_queries.load(), 0);
}

TEST_P(EnginePrefixTest, WhatIsScoredOrHasItsPromptsProbabilitiesIsRead) {
  StartBoth();
  TurnRequest request = IdsTurn(Count(0, 60), 5);
  EXPECT_EQ(Cached(request), 0);
  TurnRequest probabilities = request;
  probabilities.prompt_logprobs = 2;
  const TurnDelta turn = Finish(probabilities);
  EXPECT_EQ(turn.usage.cached_tokens, 0);
  EXPECT_EQ(turn.prompt_logprobs.size(), Reference(probabilities).prompt_logprobs.size());
  const TurnDelta scored = Finish(ScoreTurn(Count(0, 70)));
  EXPECT_EQ(scored.usage.cached_tokens, 0);
  EXPECT_EQ(scored.scores.size(), 69u);
  const std::string session = NewSession();
  EXPECT_EQ(Finish(IdsTurn(Count(0, 70), 5, session)).usage.cached_tokens, 0);
  EXPECT_EQ(Cached(IdsTurn(Join(Fed(request), {1, 2, 3}), 5)), 64);
}

TEST_P(EnginePrefixTest, APromptThatIsOnlyReadIsKept) {
  StartBoth();
  EXPECT_EQ(Cached(IdsTurn(Count(0, 60), 0)), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 60), 5)), 59);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 60), 0)), 0);  // all that it would feed is there, but it feeds at least one
  EXPECT_EQ(Cached(IdsTurn(Count(0, 80), 0)), 59);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 90), 5)), 79);
}

TEST_P(EnginePrefixTest, RepliesChosenByTheHostAndStopsGoOnToo) {
  StartBoth();
  TurnRequest request = IdsTurn(Count(0, 60), 40);
  request.sampling.temperature = 1;
  request.sampling.seed = 3;
  request.logprobs = 2;
  request.sampling.repetition_penalty = 1.2f;
  for (int turn = 0; turn < 4; ++turn) {
    const std::vector<int32_t> fed = Fed(request);
    EXPECT_GE(Cached(request), turn == 0 ? 0 : 60);
    request.prompt = Join(fed, Count(turn, 5));
    request.stop_token_ids = {17, 200, 31, 5, 99};
    request.min_tokens = turn;
  }
}

TEST_P(EnginePrefixTest, CancelledTurnsLeaveWhatTheyFed) {
  StartBoth(Endless());
  const TurnRequest request = IdsTurn(Count(0, 60), 100000);
  model_->Hold();
  const auto stream = MustSubmit(request);
  model_->Release(3);  // some of the prompt: 2, 16 and 16 rows, and what is launched already
  model_->WaitUntilHeld();
  stream->Cancel();
  model_->ReleaseAll();
  const TurnDelta turn = Collect(*stream);
  EXPECT_EQ(turn.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 100), 3)), turn.usage.session_tokens_seen - 1);
  // And within a reply.
  const auto second = MustSubmit(IdsTurn(Count(100, 60), 100000));
  EXPECT_FALSE(second->Pop().finished);
  second->Cancel();
  const TurnDelta cut = Collect(*second);
  const std::vector<int32_t> begun(static_cast<size_t>(cut.usage.session_tokens_seen - 61), 'a');
  EXPECT_GE(Cached(IdsTurn(Join(Join(Count(100, 60), begun), {'b', 'b'}), 3)), 59);
}

TEST_P(EnginePrefixTest, SessionsAndForksTakeTheirSlots) {
  StartBoth();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Cached(IdsTurn(Count(30 * i, 60), 5)), 0);
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 4);
  EXPECT_EQ(engine_->SlotsFree(), 4);
  const std::string session = NewSession();
  EXPECT_TRUE(Finish(IdsTurn(Count(0, 20), 5, session)).status.ok());
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 3);
  EXPECT_EQ(engine_->SlotsFree(), 3);
  const auto fork = engine_->ForkSession(session, "", std::nullopt);
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(engine_->SlotsFree(), 2);
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 2);
  // The entries used longest ago went.
  EXPECT_EQ(Cached(IdsTurn(Count(0, 70), 5)), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(90, 60), 5)), 59);
  EXPECT_TRUE(Finish(IdsTurn(Count(0, 20), 5, NewSession())).status.ok());
  EXPECT_EQ(engine_->SlotsFree(), 1);
  // One stays for one-shot turns.
  EXPECT_EQ(engine_->CreateSession("", std::nullopt).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Cached(IdsTurn(Count(200, 60), 5)), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(200, 60), 5)), 59);
  EXPECT_EQ(Finish(IdsTurn(Count(0, 3), 5, session)).token_ids, Finish(IdsTurn(Count(0, 3), 5, fork->id)).token_ids);
}

TEST_P(EnginePrefixTest, NoSessionIsParkedForAnEntry) {
  options_.host_cache_bytes = int64_t{1} << 20;
  StartBoth();
  std::vector<std::string> sessions;
  for (int i = 0; i < 3; ++i) {
    sessions.push_back(NewSession());
    EXPECT_TRUE(Finish(IdsTurn(Count(i, 20), 5, sessions.back())).status.ok());
    EXPECT_EQ(Cached(IdsTurn(Count(50 * i, 60), 5)), 0);
    EXPECT_EQ(Cached(IdsTurn(Count(50 * i, 60), 5)), 59);
  }
  EXPECT_EQ(engine_->metrics().parks.load(), 0);
  // The last slot is an entry's; a fourth session takes it, too.
  sessions.push_back(NewSession());
  EXPECT_TRUE(Finish(IdsTurn(Count(9, 20), 5, sessions.back())).status.ok());
  EXPECT_EQ(engine_->metrics().parks.load(), 0);
  EXPECT_EQ(engine_->SlotsFree(), 0);
  EXPECT_EQ(Cached(IdsTurn(Count(0, 70), 5)), 0);  // a session makes room
  EXPECT_EQ(engine_->metrics().parks.load(), 1);
  for (const std::string& session : sessions) {
    EXPECT_TRUE(Finish(IdsTurn(Count(1, 3), 5, session)).status.ok());
  }
}

TEST_P(EnginePrefixTest, ACopyThatFailsCostsTheReading) {
  for (const int slots : {1, 4}) {  // scores that are written; a slot that is copied
    options_.num_slots = slots;
    StartBoth();
    const TurnRequest request = IdsTurn(Count(0, 60), 5);
    EXPECT_EQ(Cached(request), 0);
    model_->FailNextCopy(absl::InternalError("no copy"));
    EXPECT_EQ(Cached(request), 0);
    EXPECT_EQ(Cached(request), 59);
    EXPECT_EQ(engine_->SlotsFree(), slots);
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

TEST_P(EnginePrefixTest, ATurnThatFailsLeavesNothing) {
  StartBoth();
  const TurnRequest request = IdsTurn(Count(0, 60), 5);
  model_->FailNextStep(absl::InternalError("a fault"));
  EXPECT_FALSE(Finish(request).status.ok());
  EXPECT_EQ(Cached(request), 0);
  EXPECT_EQ(Cached(request), 59);
  model_->FailNextStep(absl::InternalError("a fault"));
  EXPECT_FALSE(Finish(request).status.ok());
  EXPECT_EQ(engine_->SlotsFree(), 4);
  EXPECT_EQ(Cached(request), 59);  // the entry was in no step
}

TEST_P(EnginePrefixTest, EntriesDieWithTheDevice) {
  StartBoth();
  EXPECT_EQ(Cached(IdsTurn(Count(0, 60), 5)), 0);
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 1);
  model_->FailNextStep(absl::DataLossError("gone"));
  EXPECT_EQ(Finish(IdsTurn(Count(0, 70), 5)).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->metrics().prefix_entries.load(), 0);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

// A conversation as OpenAI's clients send it: all of it, every time.
class ConversationTest : public EnginePrefixTest {
 protected:
  void SetUp() override {
    auto made = CreateChatTemplate(
        "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant:{% endif %}",
        tokenizer_, Clock::Real());
    ASSERT_TRUE(made.ok()) << made.status();
    chat_template_ = *std::move(made);
  }
  TurnRequest Ask(const std::string& question, int64_t max_tokens) {
    messages_.push_back({"user", question});
    TurnRequest request = TextTurn("", max_tokens);
    request.prompt = messages_;
    request.sampling.temperature = 1;
    request.sampling.seed = messages_.size();
    return request;
  }

  std::unique_ptr<ChatTemplate> chat_template_;
  std::vector<ChatMessage> messages_{{"system", "Say what is asked for, and do not say more."}};
};

TEST_P(ConversationTest, ResentItReadsTheNewMessageAlone) {
  options_.max_num_batched_tokens = 64;
  StartBoth(Says("a reply of some words"), chat_template_.get());
  int64_t before = 0;
  for (int turn = 0; turn < 10; ++turn) {
    TurnRequest request = Ask("question " + std::to_string(turn), 100);
    request.sampling.temperature = 0;
    const TurnDelta reply = Finish(request);
    ExpectReference(reply, request);
    EXPECT_EQ(reply.usage.cached_tokens, before);
    before = reply.usage.prompt_tokens + reply.usage.completion_tokens - 1;
    messages_.push_back({"assistant", reply.text});
  }
}

// Bytes at random are not UTF-8: what the client sends is not what was sampled, and all of a reply is read again.
TEST_P(ConversationTest, RepliesThatAreTokenisedAnewAreReadAgain) {
  for (const int slots : {2, 4}) {
    options_.num_slots = slots;
    StartBoth(nullptr, chat_template_.get());
    messages_.resize(1);
    int64_t before = 0;
    for (int turn = 0; turn < 10; ++turn) {
      const TurnRequest request = Ask("question " + std::to_string(turn), 40);
      const TurnDelta reply = Finish(request);
      ExpectReference(reply, request);
      EXPECT_GE(reply.usage.cached_tokens, before) << "turn " << turn;
      before = reply.usage.prompt_tokens - 1;
      messages_.push_back({"assistant", reply.text});
    }
    EXPECT_EQ(engine_->SlotsFree(), slots);
    engine_.reset();
    EXPECT_THAT(model_->violations(), ::testing::IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EnginePrefixTest, ::testing::Values(1, 2));
INSTANTIATE_TEST_SUITE_P(StepsInFlight, ConversationTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
