// One turn after the other: what is fed, what comes back, what the session holds.
#include <cmath>

#include "tests/engine/engine_test_util.h"

namespace cascade {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class EngineTurnTest : public EngineTest {};

TEST_P(EngineTurnTest, OneShotReplyUntilTheEndToken) {
  Start(Says("hello"));
  const TurnDelta delta = Finish(TextTurn("say>", 100));
  EXPECT_TRUE(delta.status.ok());
  EXPECT_EQ(delta.text, "hello");
  EXPECT_THAT(delta.token_ids, ElementsAre('h', 'e', 'l', 'l', 'o', ByteTokenizer::kEnd));
  EXPECT_EQ(delta.finish_reason, FinishReason::kStop);
  EXPECT_EQ(delta.usage.prompt_tokens, 4);
  EXPECT_EQ(delta.usage.completion_tokens, 6);
  EXPECT_EQ(delta.usage.session_tokens_seen, 10);
  EXPECT_EQ(delta.usage.tokens_resident, 10);
  EXPECT_EQ(delta.usage.tokens_evicted, 0);
  EXPECT_EQ(delta.usage.cache_bytes, 1234);
  EXPECT_EQ(engine_->SlotsFree(), 4);
}

TEST_P(EngineTurnTest, CertificatesOfScoresAreCounted) {
  Start(Says("hello"));
  model_->CertifyNextStep({.heads = 40, .rejected = 3, .worst = 0.04f});
  Finish(TextTurn("say>", 100));
  const Metrics& metrics = engine_->metrics();
  EXPECT_EQ(metrics.score_heads_predicted.load(), 40);
  EXPECT_EQ(metrics.score_heads_rejected.load(), 3);
  EXPECT_EQ(metrics.score_certificate.load(), 0.04f);  // steps without predictions leave it
}

TEST_P(EngineTurnTest, MaxTokensAndItsDefault) {
  options_.default_max_tokens = 3;
  Start(Says("hello"));
  TurnDelta delta = Finish(TextTurn(">", 2));
  EXPECT_EQ(delta.text, "he");
  EXPECT_EQ(delta.finish_reason, FinishReason::kLength);
  TurnRequest request = TextTurn(">", 0);
  request.max_tokens.reset();
  EXPECT_EQ(Finish(request).text, "hel");
}

TEST_P(EngineTurnTest, StopStringsAreNotPrintedButBelongToTheSession) {
  Start(Says("one, two, three"));
  const std::string session = NewSession();
  TurnRequest request = TextTurn(">", 100, session);
  request.stop = {"zzz", ", t"};
  const TurnDelta delta = Finish(request);
  EXPECT_EQ(delta.text, "one");
  EXPECT_EQ(delta.finish_reason, FinishReason::kStopSequence);
  EXPECT_EQ(delta.stop_sequence, ", t");
  EXPECT_EQ(delta.usage.completion_tokens, 6);
  EXPECT_EQ(Position(session), 7);
  // What follows is fed after them.
  Finish(TextTurn("x", 1, session));
  EXPECT_THAT(model_->FedIds(0), ElementsAreArray(TextIds(">one, tx")));
}

TEST_P(EngineTurnTest, APossibleStopStringThatIsNoneIsPrintedInTheEnd) {
  Start(Says("ab"));
  TurnRequest request = TextTurn(">", 100);
  request.stop = {"abc"};
  const TurnDelta delta = Finish(request);
  EXPECT_EQ(delta.text, "ab");
  EXPECT_EQ(delta.finish_reason, FinishReason::kStop);
}

// The last token of a session is fed by its next turn, whatever the kinds of the two.
TEST_P(EngineTurnTest, TheLastTokenStaysPending) {
  Start(Says("hi"));
  const std::string session = NewSession();
  Finish(IdsTurn({1, 2, '>'}, 0, session));
  EXPECT_THAT(model_->FedIds(0), ElementsAre(1, 2));
  EXPECT_EQ(Position(session), 3);
  EXPECT_EQ(Finish(IdsTurn({}, 1, session)).text, "h");  // an empty prompt goes on from there
  EXPECT_THAT(model_->FedIds(0), ElementsAre(1, 2, '>'));
  EXPECT_EQ(Position(session), 4);
  const TurnDelta delta = Finish(TextTurn("", 100, session));
  EXPECT_EQ(delta.text, "i");
  EXPECT_EQ(delta.finish_reason, FinishReason::kStop);
  EXPECT_EQ(delta.usage.prompt_tokens, 0);
  EXPECT_THAT(model_->FedIds(0), ElementsAre(1, 2, '>', 'h', 'i'));
  EXPECT_EQ(Position(session), 6);  // the end token is pending
  EXPECT_EQ(Finish(IdsTurn({9}, 0, session)).usage.prompt_tokens, 1);
  EXPECT_THAT(model_->FedIds(0), ElementsAre(1, 2, '>', 'h', 'i', ByteTokenizer::kEnd));
  EXPECT_EQ(engine_->GetSession(session)->turns, 4);
}

TEST_P(EngineTurnTest, AppendingOneTokenOrNoneNeedsNoStep) {
  Start();
  const std::string session = NewSession();
  EXPECT_EQ(Finish(IdsTurn({7}, 0, session)).finish_reason, FinishReason::kLength);
  EXPECT_EQ(Position(session), 1);
  Finish(IdsTurn({}, 0, session));
  EXPECT_EQ(Position(session), 1);
  EXPECT_EQ(model_->steps().size(), 0u);
  Finish(IdsTurn({}, 1, session));
  EXPECT_THAT(model_->FedIds(0), ElementsAre(7));
}

TEST_P(EngineTurnTest, TextStartsWithTheStartTokenOnce) {
  const ByteTokenizer tokenizer(/*with_start=*/true);
  Start(Endless(), &tokenizer);
  const std::string session = NewSession();
  Finish(TextTurn("a", 1, session));
  Finish(TextTurn("b", 1, session));
  EXPECT_THAT(model_->FedIds(0), ElementsAre(ByteTokenizer::kStart, 'a', 'a', 'b'));
  const std::string other = NewSession();
  Finish(IdsTurn({5}, 1, other));  // ids are taken as they are
  EXPECT_THAT(model_->FedIds(1), ElementsAre(5));
}

TEST_P(EngineTurnTest, SpecialTextIsPlainUnlessAsked) {
  Start(Endless());
  TurnRequest request = TextTurn("<e>", 1, NewSession());
  Finish(request);
  EXPECT_THAT(model_->FedIds(0), ElementsAre('<', 'e', '>'));
  request = TextTurn("<e>", 1, NewSession());
  std::get<TextPrompt>(request.prompt).parse_special = true;
  Finish(request);
  EXPECT_THAT(model_->FedIds(1), ElementsAre(ByteTokenizer::kEnd));
}

// Marks what it is asked for.
class FakeTemplate final : public ChatTemplate {
 public:
  absl::StatusOr<std::vector<TemplatePiece>> Render(const std::vector<ChatMessage>& messages, bool) const override {
    return Pieces("all:", messages);
  }
  absl::StatusOr<std::vector<TemplatePiece>> RenderTurn(ReplyEnd last, int32_t last_id,
                                                        const std::vector<ChatMessage>& messages, bool) const override {
    EXPECT_EQ(last == ReplyEnd::kEndToken, last_id == ByteTokenizer::kEnd);
    return Pieces(last == ReplyEnd::kNone ? "none:" : last == ReplyEnd::kEndToken ? "end:" : "cut:", messages);
  }
  const absl::Status& sessions() const override { return sessions_; }
  absl::Status CheckFirstTurn(const std::vector<ChatMessage>& messages) const override {
    return messages[0].role == "moved" ? absl::FailedPreconditionError("messages[0].role must not be moved")
                                       : absl::OkStatus();
  }

 private:
  static absl::StatusOr<std::vector<TemplatePiece>> Pieces(const std::string& mark,
                                                           const std::vector<ChatMessage>& messages) {
    if (messages[0].role == "bad") return absl::InvalidArgumentError("messages[0].role is unknown");
    return std::vector<TemplatePiece>{{mark}, {messages[0].content}};
  }

  const absl::Status sessions_;
};

TEST_P(EngineTurnTest, MessagesGoOnAfterHowTheLastReplyEnded) {
  const FakeTemplate chat_template;
  Start(Says("hi"), nullptr, &chat_template);
  const std::string session = NewSession();
  const auto turn = [&](const std::string& content, int64_t max_tokens) {
    TurnRequest request = TextTurn("", max_tokens, session);
    request.prompt = std::vector<ChatMessage>{{"user", content}};
    const size_t before = model_->FedIds(0).size();
    Finish(request);
    std::string fed;
    const std::vector<int32_t> ids = model_->FedIds(0);
    for (size_t i = before; i < ids.size(); ++i) fed += ids[i] < 256 ? std::string(1, static_cast<char>(ids[i])) : "$";
    return fed;
  };
  EXPECT_EQ(turn("1>", 100), "all:1>hi");
  EXPECT_EQ(turn("2>", 1), "$end:2>");
  EXPECT_EQ(turn("3>", 0), "hcut:3");
  EXPECT_EQ(turn("4>", 1), ">cut:4>");
  Finish(TextTurn("text", 0, session));
  EXPECT_EQ(turn("5>", 1), "tnone:5>");

  TurnRequest bad = TextTurn("", 1, session);
  bad.prompt = std::vector<ChatMessage>{{"bad", ""}};
  const absl::Status status = engine_->Submit(bad).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message().data(), status.message().size()), HasSubstr("prompt.messages[0].role"));
  EXPECT_EQ(engine_->GetSession(session)->state, SessionState::kResident);
}

TEST_P(EngineTurnTest, ASessionDoesNotBeginWithWhatTheTemplateWouldMove) {
  const FakeTemplate chat_template;
  Start(Says("hi"), nullptr, &chat_template);
  TurnRequest request = TextTurn("", 1);
  request.prompt = std::vector<ChatMessage>{{"moved", "1>"}};
  EXPECT_TRUE(Finish(request).status.ok());
  request.session_id = NewSession();
  const absl::Status status = engine_->Submit(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message().data(), status.message().size()), HasSubstr("prompt.messages[0].role"));
  EXPECT_EQ(engine_->GetSession(request.session_id)->position, 0);
}

TEST_P(EngineTurnTest, ScoresEveryTokenButASessionsFirst) {
  Start();
  const std::string session = NewSession();
  TurnDelta delta = Finish(ScoreTurn({1, 2, 3, 4}, session));
  EXPECT_TRUE(delta.status.ok());
  EXPECT_THAT(delta.token_ids, ElementsAre(2, 3, 4));
  EXPECT_EQ(delta.scores.size(), 3u);
  EXPECT_EQ(delta.score_total, 3);
  EXPECT_EQ(delta.usage.prompt_tokens, 4);
  delta = Finish(ScoreTurn({5}, session));
  EXPECT_THAT(delta.token_ids, ElementsAre(5));
  EXPECT_EQ(delta.score_total, 1);
  EXPECT_EQ(Position(session), 5);
  EXPECT_THAT(model_->FedIds(0), ElementsAre(1, 2, 3, 4));

  // The same scores whether in one turn or two.
  std::vector<float> once;
  for (const kernels::TokenScore& score : Finish(ScoreTurn({1, 2, 3, 4, 5})).scores) once.push_back(score.logprob);
  ASSERT_EQ(once.size(), 4u);
  EXPECT_EQ(once[3], delta.scores[0].logprob);
  EXPECT_LT(once[3], 0);
}

TEST_P(EngineTurnTest, ScoresOfALongTextStreamInOrder) {
  Start();
  std::vector<int32_t> ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(i % 200);
  const TurnDelta delta = Finish(ScoreTurn(ids));
  EXPECT_THAT(delta.token_ids, ElementsAreArray(std::vector<int32_t>(ids.begin() + 1, ids.end())));
  EXPECT_EQ(delta.scores.size(), 999u);
}

TEST_P(EngineTurnTest, SamplingDependsOnSeedAndPositionOnly) {
  Start();
  TurnRequest request = TextTurn("some prompt", 60);
  request.sampling.temperature = 2;
  request.sampling.seed = 5;
  const TurnDelta first = Finish(request);
  EXPECT_EQ(Finish(request).token_ids, first.token_ids);
  request.sampling.seed = 6;
  EXPECT_NE(Finish(request).token_ids, first.token_ids);
  // In two turns: the second begins at the same position of the same session.
  request.sampling.seed = 5;
  request.session_id = NewSession();
  request.max_tokens = 20;
  std::vector<int32_t> ids = Finish(request).token_ids;
  if (ids.size() == 20) {
    request.prompt = std::vector<int32_t>();
    request.max_tokens = 40;
    const std::vector<int32_t> more = Finish(request).token_ids;
    ids.insert(ids.end(), more.begin(), more.end());
  }
  EXPECT_EQ(ids, first.token_ids);
}

TEST_P(EngineTurnTest, ServerDrawsSeedsThatDiffer) {
  Start();
  TurnRequest request = TextTurn("some prompt", 30);
  request.sampling.temperature = 2;
  EXPECT_NE(Finish(request).token_ids, Finish(request).token_ids);
}

TEST_P(EngineTurnTest, UsageTimesAreTheClocks) {
  Start(Says("abc"));
  model_->on_step = [this](const ForwardBatch&) { clock_.Advance(std::chrono::seconds(2)); };
  const TurnDelta delta = Finish(TextTurn("12345678901234567>", 100));  // sinks, a stride; then 3 more steps
  EXPECT_EQ(delta.usage.queue_time, std::chrono::seconds(0));
  // An id is known when the steps after it that go along are launched.
  EXPECT_EQ(delta.usage.prefill_time, std::chrono::seconds(2 + 2 * steps_in_flight()));
  EXPECT_EQ(delta.usage.decode_time, std::chrono::seconds(6));
}

TEST_P(EngineTurnTest, CountsEvictions) {
  Start();
  const std::string session = NewSession();
  const TurnDelta delta = Finish(IdsTurn(std::vector<int32_t>(1000, 1), 0, session));
  const CascadePlan plan(options_.geometry, 1000);
  EXPECT_EQ(delta.usage.tokens_resident, plan.tokens_resident());
  EXPECT_EQ(delta.usage.tokens_evicted, 1000 - plan.tokens_resident());
  EXPECT_EQ(engine_->GetSession(session)->tokens_evicted, plan.tokens_evicted());
  EXPECT_EQ(engine_->metrics().tokens_evicted.load(), CascadePlan(options_.geometry, 999).tokens_evicted());
  EXPECT_EQ(engine_->metrics().stride_closes.load(), (999 - 2) / 16);
  EXPECT_EQ(engine_->metrics().prompt_tokens.load(), 999);
  EXPECT_EQ(engine_->metrics().turns_finished.load(), 1);
  EXPECT_EQ(engine_->metrics().sessions.load(), 1);
}

TEST_P(EngineTurnTest, WhatSubmitRefuses) {
  Start();
  const std::string session = NewSession();
  EXPECT_EQ(SubmitCode(TextTurn("", 1)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SubmitCode(TextTurn("", 1, session)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SubmitCode(TextTurn("a", 1, "unknown")), absl::StatusCode::kNotFound);
  EXPECT_EQ(SubmitCode(TextTurn("\xff", 1, session)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SubmitCode(ScoreTurn({1}, session)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SubmitCode(IdsTurn({ByteTokenizer::kVocabulary}, 1)), absl::StatusCode::kInvalidArgument);
  TurnRequest request = TextTurn("a", 1, session);
  request.sampling.temperature = NAN;
  EXPECT_EQ(SubmitCode(request), absl::StatusCode::kInvalidArgument);
  request = TextTurn("a", 1, session);
  request.expected_position = 3;
  EXPECT_EQ(SubmitCode(request), absl::StatusCode::kFailedPrecondition);
  // None of it left the session busy.
  request.expected_position = 0;
  EXPECT_TRUE(Finish(request).status.ok());
}

TEST_P(EngineTurnTest, ASessionIsFreeWhenItsLastDeltaIsThere) {
  Start();
  const std::string session = NewSession();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Finish(TextTurn("x", 1, session)).status.ok());
}

TEST_P(EngineTurnTest, Inspection) {
  Start();
  const std::string session = NewSession();
  int64_t position = -1;
  auto views = engine_->InspectSession(session, {}, {}, &position);
  ASSERT_TRUE(views.ok());
  EXPECT_EQ(position, 0);
  ASSERT_EQ(views->size(), 6u);
  EXPECT_TRUE((*views)[0].tokens.empty());

  Finish(IdsTurn(std::vector<int32_t>(30, 1), 0, session));
  views = engine_->InspectSession(session, {1, 1}, {2, 0}, &position);
  ASSERT_TRUE(views.ok()) << views.status();
  EXPECT_EQ(position, 30);
  ASSERT_EQ(views->size(), 2u);
  EXPECT_EQ((*views)[0].layer, 1);
  EXPECT_EQ((*views)[0].kv_head, 0);
  EXPECT_EQ((*views)[1].kv_head, 2);
  ASSERT_EQ((*views)[1].tokens.size(), 30u);
  EXPECT_EQ((*views)[1].tokens.back().token, 29);  // pending
  EXPECT_EQ((*views)[1].tokens.back().sub_cache, 2);

  EXPECT_EQ(engine_->InspectSession(session, {2}, {}, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->InspectSession(session, {}, {-1}, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->InspectSession("unknown", {}, {}, nullptr).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EngineTurnTest, AForkGoesOnFromWhereItsOriginIs) {
  Start();
  const std::string session = NewSession();
  Finish(IdsTurn({1, 2, 3, 4, 5}, 3, session));
  const int64_t position = Position(session);
  const auto fork = engine_->ForkSession(session, "other", position);
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_NE(fork->id, session);
  EXPECT_EQ(fork->label, "other");
  EXPECT_EQ(fork->state, SessionState::kResident);
  EXPECT_EQ(fork->position, position);
  EXPECT_EQ(fork->turns, 0);
  EXPECT_EQ(engine_->SlotsFree(), 2);
  // The same next tokens; and then they part.
  EXPECT_EQ(Finish(IdsTurn({7}, 4, session)).token_ids, Finish(IdsTurn({7}, 4, fork->id)).token_ids);
  EXPECT_EQ(Position(fork->id), Position(session));
  Finish(IdsTurn({8, 9}, 0, fork->id));
  EXPECT_EQ(Position(fork->id), Position(session) + 2);
  EXPECT_TRUE(engine_->DeleteSession(session).ok());
  EXPECT_TRUE(Finish(IdsTurn({7}, 2, fork->id)).status.ok());
}

TEST_P(EngineTurnTest, AForkOfASessionWithoutTokens) {
  Start();
  const std::string session = NewSession();
  const auto fork = engine_->ForkSession(session, "", std::nullopt);
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(fork->position, 0);
  EXPECT_EQ(Finish(IdsTurn({1, 2}, 3, fork->id)).token_ids, Finish(IdsTurn({1, 2}, 3, session)).token_ids);
}

TEST_P(EngineTurnTest, ForksThatAreNot) {
  Start();
  const std::string session = NewSession();
  Finish(IdsTurn({1, 2, 3}, 1, session));
  const auto code = [&](const std::string& id, const std::string& label, std::optional<int64_t> position) {
    return engine_->ForkSession(id, label, position).status().code();
  };
  EXPECT_EQ(code("unknown", "", std::nullopt), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(session, "two words", std::nullopt), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(session, "", 3), absl::StatusCode::kFailedPrecondition);
  model_->FailNextCopy(absl::InternalError("copy"));
  EXPECT_EQ(code(session, "", std::nullopt), absl::StatusCode::kInternal);
  EXPECT_EQ(engine_->SlotsFree(), 3);  // and no session is left
  EXPECT_EQ(engine_->ListSessions(10, "")->sessions.size(), 1u);
  NewSession(), NewSession();
  EXPECT_EQ(code(session, "", std::nullopt), absl::StatusCode::kResourceExhausted);
  // The origin is as it was, and free.
  EXPECT_EQ(Position(session), 4);
  EXPECT_TRUE(Finish(IdsTurn({7}, 1, session)).status.ok());
  engine_->StopAdmission();
  EXPECT_EQ(code(session, "", std::nullopt), absl::StatusCode::kUnavailable);
}

TEST_P(EngineTurnTest, OptionsThatContradict) {
  FakeModel model(options_.geometry, ByteTokenizer::kVocabulary, 16);
  const auto code = [&](const std::function<void(EngineOptions&)>& change) {
    EngineOptions options = options_;
    change(options);
    return Engine::Create(options, model, tokenizer_, nullptr, clock_, random_).status().code();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](EngineOptions& o) {}), absl::StatusCode::kOk);
  EXPECT_EQ(code([](EngineOptions& o) { o.num_slots = 0; }), bad);
  EXPECT_EQ(code([](EngineOptions& o) { o.max_num_seqs = 0; }), bad);
  EXPECT_EQ(code([](EngineOptions& o) { o.max_num_batched_tokens = 3; }), bad);
  EXPECT_EQ(code([](EngineOptions& o) { o.session_ttl = std::chrono::seconds(-1); }), bad);
  EXPECT_EQ(code([](EngineOptions& o) { o.geometry.stride = 5; }), bad);
  FakeModel small(options_.geometry, 100, 16);
  EXPECT_EQ(Engine::Create(options_, small, tokenizer_, nullptr, clock_, random_).status().code(), bad);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineTurnTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
