// Turns over the wire: order, merging, cancel, deadline, slow readers, errors.
#include <future>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/endpoint_fixture.h"

namespace cascade {
namespace {

class StreamingTest : public EndpointFixture {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>;
};

TEST_F(StreamingTest, DeltasInOrderAndTheUsageLast) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(std::get<TextPrompt>(turn.request.prompt).text, "hello");
  EXPECT_EQ(turn.request.deadline, SteadyTime::max());
  v1::GenerateResponse response;
  for (int i = 0; i < 20; ++i) {
    turn.stream->Push(TextDelta(std::to_string(i), {i}));
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.text(), std::to_string(i));
    EXPECT_EQ(response.token_ids(0), i);
    EXPECT_FALSE(response.has_usage());
  }
  turn.stream->Push(FinishedDelta(FinishReason::kStop));
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(response.usage().position(), 8);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamingTest, TheLastTextComesWithTheEnd) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  TurnDelta last = FinishedDelta(FinishReason::kStopSequence);
  last.text = "bye";
  last.stop_sequence = "END";
  engine_.NextTurn().stream->Push(last);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.text(), "bye");
  EXPECT_EQ(response.stop_sequence(), "END");
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamingTest, SeveralRepliesInOneCall) {
  grpc::ClientContext context;
  v1::GenerateRequest request = TextRequest("hello");
  request.set_n(3);
  request.mutable_sampling()->set_seed(10);
  Reader reader = stub_->Generate(&context, request);
  std::vector<FakeTurn> turns;
  for (int i = 0; i < 3; ++i) turns.push_back(engine_.NextTurn());
  v1::GenerateResponse response;
  for (const int i : {2, 0, 1, 1, 2}) {  // whichever has something
    turns[static_cast<size_t>(i)].stream->Push(TextDelta(std::string(1, static_cast<char>('a' + i)), {i}));
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.index(), i);
    EXPECT_EQ(response.token_ids(0), i);
  }
  for (const int i : {1, 0, 2}) {
    turns[static_cast<size_t>(i)].stream->Push(FinishedDelta(FinishReason::kLength));
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.index(), i);
    EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
    EXPECT_TRUE(response.has_usage());
  }
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamingTest, SeveralRepliesAtFullSpeedLoseNothing) {
  grpc::ClientContext context;
  v1::GenerateRequest request = TextRequest("hello");
  request.set_n(4);
  Reader reader = stub_->Generate(&context, request);
  std::vector<FakeTurn> turns;
  for (int i = 0; i < 4; ++i) turns.push_back(engine_.NextTurn());
  constexpr int kDeltas = 5000;
  std::vector<std::thread> engines;
  for (const FakeTurn& turn : turns) {
    engines.emplace_back([stream = turn.stream] {
      for (int i = 0; i < kDeltas; ++i) stream->Push(TextDelta("x", {i}));
      stream->Push(FinishedDelta(FinishReason::kStop));
    });
  }
  std::vector<int> next(4, 0), ends(4, 0);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    const auto index = static_cast<size_t>(response.index());
    ASSERT_LT(index, 4u);
    for (const int id : response.token_ids()) ASSERT_EQ(id, next[index]++);
    ends[index] += response.has_usage() ? 1 : 0;
  }
  for (std::thread& engine : engines) engine.join();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(next, testing::Each(kDeltas));
  EXPECT_THAT(ends, testing::Each(1));
}

TEST_F(StreamingTest, AReplyThatFailsGivesTheCallItsStatus) {
  grpc::ClientContext context;
  v1::GenerateRequest request = TextRequest("hello");
  request.set_n(2);
  Reader reader = stub_->Generate(&context, request);
  const FakeTurn first = engine_.NextTurn(), second = engine_.NextTurn();
  first.stream->Push(FinishedDelta(FinishReason::kError, absl::InternalError("broken")));
  second.stream->Push(TextDelta("x", {1}));
  second.stream->Push(FinishedDelta(FinishReason::kStop));
  int ends = 0;
  std::string text;
  for (v1::GenerateResponse response; reader->Read(&response);) {
    ends += response.has_usage() ? 1 : 0;
    text += response.text();
  }
  EXPECT_EQ(ends, 2);
  EXPECT_EQ(text, "x");
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(StreamingTest, AClientThatGoesCancelsAllReplies) {
  grpc::ClientContext context;
  v1::GenerateRequest request = TextRequest("hello");
  request.set_n(3);
  Reader reader = stub_->Generate(&context, request);
  std::vector<FakeTurn> turns;
  for (int i = 0; i < 3; ++i) turns.push_back(engine_.NextTurn());
  context.TryCancel();
  for (const FakeTurn& turn : turns) {
    WaitUntil([&] { return turn.stream->cancelled(); });
    turn.stream->Push(FinishedDelta(FinishReason::kCancelled));
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamingTest, EmptyDeltasAreNotSent) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  turn.stream->Push(TextDelta("", {}));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  turn.stream->Push(TextDelta("x", {1}));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.text(), "x");
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

// The client's window fills; the engine goes on, what is unread merges, and everything arrives.
TEST_F(StreamingTest, SlowReaderCostsTheEngineNothingAndLosesNothing) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  std::string sent;
  constexpr int kDeltas = 20'000;
  for (int i = 0; i < kDeltas; ++i) {
    const std::string text = std::string(200, static_cast<char>('a' + i % 26));
    sent += text;
    turn.stream->Push(TextDelta(text, {i}));
  }
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  std::string received;
  int messages = 0;
  int next = 0;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    ++messages;
    received += response.text();
    for (const int id : response.token_ids()) ASSERT_EQ(id, next++);
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(received, sent);
  EXPECT_EQ(next, kDeltas);
  EXPECT_LT(messages, kDeltas);  // merged
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(StreamingTest, OthersStreamWhileOneDoesNotRead) {
  grpc::ClientContext stalled_context;
  Reader stalled = stub_->Generate(&stalled_context, TextRequest("stalled"));
  const FakeTurn stalled_turn = engine_.NextTurn();
  for (int i = 0; i < 100; ++i) stalled_turn.stream->Push(TextDelta(std::string(100'000, 'x'), {i}));
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    Reader reader = stub_->Generate(&context, TextRequest("quick"));
    const FakeTurn turn = engine_.NextTurn();
    turn.stream->Push(TextDelta("y", {1}));
    v1::GenerateResponse response;
    ASSERT_TRUE(reader->Read(&response));
    turn.stream->Push(FinishedDelta(FinishReason::kStop));
    while (reader->Read(&response)) {
    }
    ASSERT_TRUE(reader->Finish().ok());
  }
  stalled_turn.stream->Push(FinishedDelta(FinishReason::kLength));
  size_t received = 0;
  v1::GenerateResponse response;
  while (stalled->Read(&response)) received += response.text().size();
  EXPECT_EQ(received, 100u * 100'000);
  EXPECT_TRUE(stalled->Finish().ok());
}

TEST_F(StreamingTest, CancelReachesTheTurnInEveryState) {
  for (const int deltas : {0, 1, 50}) {
    grpc::ClientContext context;
    Reader reader = stub_->Generate(&context, TextRequest("hello"));
    const FakeTurn turn = engine_.NextTurn();
    for (int i = 0; i < deltas; ++i) turn.stream->Push(TextDelta("x", {i}));
    EXPECT_FALSE(turn.stream->cancelled());
    context.TryCancel();
    WaitUntil([&] { return turn.stream->cancelled(); });
    turn.stream->Push(FinishedDelta(FinishReason::kCancelled, absl::CancelledError("cancelled")));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
}

// The client is gone while a write of the server is stuck in its window.
TEST_F(StreamingTest, CancelWithAWriteInFlight) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  for (int i = 0; i < 200; ++i) turn.stream->Push(TextDelta(std::string(100'000, 'x'), {i}));
  context.TryCancel();
  WaitUntil([&] { return turn.stream->cancelled(); });
  for (int i = 0; i < 10; ++i) turn.stream->Push(TextDelta("late", {i}));
  turn.stream->Push(FinishedDelta(FinishReason::kCancelled, absl::CancelledError("cancelled")));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamingTest, TheDeadlineReachesTheEngineAndIsNotACancel) {
  grpc::ClientContext context;
  const auto wanted = std::chrono::milliseconds(300);
  context.set_deadline(std::chrono::system_clock::now() + wanted);
  const SteadyTime before = std::chrono::steady_clock::now();
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_GT(turn.request.deadline, before);
  EXPECT_LT(turn.request.deadline, std::chrono::steady_clock::now() + wanted + std::chrono::seconds(5));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The engine sees the deadline itself, so that the session remembers the right reason.
  turn.stream->Push(FinishedDelta(FinishReason::kDeadline, absl::DeadlineExceededError("deadline")));
}

// The engine's own end of a turn reaches a client that is still there, with text and usage.
TEST_F(StreamingTest, AnEndByTheEngineCarriesTextUsageAndStatus) {
  const struct {
    FinishReason reason;
    absl::Status status;
    grpc::StatusCode code;
    v1::FinishReason wire;
  } rows[] = {
      {FinishReason::kCancelled, absl::OkStatus(), grpc::CANCELLED, v1::FINISH_REASON_CANCELLED},
      {FinishReason::kCancelled, absl::CancelledError("drained"), grpc::CANCELLED, v1::FINISH_REASON_CANCELLED},
      {FinishReason::kDeadline, absl::OkStatus(), grpc::DEADLINE_EXCEEDED, v1::FINISH_REASON_DEADLINE},
      {FinishReason::kError, absl::InternalError("device"), grpc::INTERNAL, v1::FINISH_REASON_ERROR},
      {FinishReason::kError, absl::OkStatus(), grpc::INTERNAL, v1::FINISH_REASON_ERROR},
  };
  for (const auto& row : rows) {
    for (const char* text : {"", "half"}) {
      grpc::ClientContext context;
      Reader reader = stub_->Generate(&context, TextRequest("hello"));
      TurnDelta last = FinishedDelta(row.reason, row.status);
      last.text = text;
      engine_.NextTurn().stream->Push(last);
      v1::GenerateResponse response;
      ASSERT_TRUE(reader->Read(&response));
      EXPECT_EQ(response.text(), text);
      EXPECT_EQ(response.finish_reason(), row.wire);
      EXPECT_TRUE(response.has_usage());
      EXPECT_FALSE(reader->Read(&response));
      EXPECT_EQ(reader->Finish().error_code(), row.code);
    }
  }
}

TEST_F(StreamingTest, RefusalsHaveTheirCodeAndDetails) {
  for (const absl::Status& status :
       {absl::NotFoundError("no such session"), absl::AbortedError("busy"), absl::FailedPreconditionError("at 7"),
        absl::ResourceExhaustedError("full"), absl::UnavailableError("draining")}) {
    engine_.FailWith(status);
    grpc::ClientContext context;
    Reader reader = stub_->Generate(&context, TextRequest("hello"));
    const grpc::Status answer = reader->Finish();
    EXPECT_EQ(static_cast<int>(answer.error_code()), static_cast<int>(status.code()));
    EXPECT_EQ(answer.error_message(), std::string(status.message()));
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(answer.error_details()));
    EXPECT_EQ(details.details_size(), absl::IsResourceExhausted(status) ? 1 : 0);
  }
}

TEST_F(StreamingTest, BadRequestsNeverReachTheEngine) {
  v1::GenerateRequest none;
  v1::GenerateRequest negative = TextRequest("x");
  negative.mutable_stopping()->set_max_tokens(-1);
  v1::GenerateRequest utf8 = TextRequest("\xFF");
  v1::GenerateRequest long_utf8 = TextRequest(std::string(200'000, 'x') + "\xFF");
  for (const auto& [request, field] : std::vector<std::pair<v1::GenerateRequest, std::string>>{
           {none, "prompt"}, {negative, "stopping.max_tokens"}, {utf8, "prompt.text"}, {long_utf8, "prompt.text"}}) {
    grpc::ClientContext context;
    const grpc::Status answer = stub_->Generate(&context, request)->Finish();
    EXPECT_EQ(answer.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    google::rpc::Status details;
    google::rpc::BadRequest bad_request;
    ASSERT_TRUE(details.ParseFromString(answer.error_details()));
    ASSERT_EQ(details.details_size(), 1);
    ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
    EXPECT_EQ(bad_request.field_violations(0).field(), field);
  }
}

TEST_F(StreamingTest, LargePromptsArriveWhole) {
  const std::string text(3 << 20, 'x');
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest(text));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(std::get<TextPrompt>(turn.request.prompt).text.size(), text.size());
  turn.stream->Push(FinishedDelta(FinishReason::kLength));
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamingTest, AMessageOverTheLimitIsRefusedAndTheServerLivesOn) {
  grpc::ClientContext context;
  const grpc::Status answer = stub_->Generate(&context, TextRequest(std::string(17 << 20, 'x')))->Finish();
  EXPECT_EQ(answer.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext next;
  v1::ServerInfo info;
  EXPECT_TRUE(stub_->GetServerInfo(&next, {}, &info).ok());
}

TEST_F(StreamingTest, Score) {
  v1::ScoreRequest request;
  request.mutable_prompt()->set_text("it was");
  request.set_session_id("s");
  grpc::ClientContext context;
  auto reader = stub_->Score(&context, request);
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_EQ(turn.request.kind, TurnKind::kScore);
  EXPECT_EQ(turn.request.session_id, "s");
  TurnDelta delta;
  delta.token_ids = {4, 5};
  delta.scores = {{-1.5f, 4, 0.5f}, {-2.5f, 9, 0.25f}};
  delta.score_total = 2;
  turn.stream->Push(delta);
  v1::ScoreResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_THAT(response.token_ids(), testing::ElementsAre(4, 5));
  EXPECT_THAT(response.logprobs(), testing::ElementsAre(-1.5f, -2.5f));
  EXPECT_THAT(response.top_ids(), testing::ElementsAre(4, 9));
  EXPECT_EQ(response.tokens_total(), 2);
  TurnDelta last = FinishedDelta(FinishReason::kLength);
  last.score_total = 2;
  turn.stream->Push(last);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.tokens_total(), 2);
  EXPECT_TRUE(response.has_usage());
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamingTest, ManyCallsAtOnce) {
  constexpr int kCalls = 64;
  std::vector<std::future<std::string>> replies;
  for (int i = 0; i < kCalls; ++i) {
    replies.push_back(std::async(std::launch::async, [this, i] {
      grpc::ClientContext context;
      Reader reader = stub_->Generate(&context, TextRequest(std::to_string(i)));
      v1::GenerateResponse response;
      std::string text;
      while (reader->Read(&response)) text += response.text();
      return reader->Finish().ok() ? text : "failed";
    }));
  }
  std::vector<FakeTurn> turns;
  for (int i = 0; i < kCalls; ++i) turns.push_back(engine_.NextTurn());
  for (int step = 0; step < 50; ++step) {
    for (const FakeTurn& turn : turns)
      turn.stream->Push(TextDelta(std::get<TextPrompt>(turn.request.prompt).text, {1}));
  }
  for (const FakeTurn& turn : turns) turn.stream->Push(FinishedDelta(FinishReason::kLength));
  for (int i = 0; i < kCalls; ++i) {
    std::string expected;
    for (int step = 0; step < 50; ++step) expected += std::to_string(i);
    EXPECT_EQ(replies[static_cast<size_t>(i)].get(), expected);
  }
}

// Stop with calls that nobody finishes: their turns are cancelled, then everything goes.
TEST_F(StreamingTest, StopCutsWhatRuns) {
  grpc::ClientContext context;
  Reader reader = stub_->Generate(&context, TextRequest("hello"));
  const FakeTurn turn = engine_.NextTurn();
  std::thread engine([&] {
    WaitUntil([&] { return turn.stream->cancelled(); });
    turn.stream->Push(FinishedDelta(FinishReason::kCancelled, absl::CancelledError("cut")));
  });
  endpoint_->Stop(std::chrono::milliseconds(50));
  engine.join();
  EXPECT_FALSE(reader->Finish().ok());
}

}  // namespace
}  // namespace cascade
