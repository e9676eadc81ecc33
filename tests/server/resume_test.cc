// Turns that outlive their call, and turns whose session is read first.
#include <future>

#include "tests/server/endpoint_fixture.h"

namespace cascade {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ResumeTest : public EndpointFixture {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>;

  std::string CreateSession() {
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(stub_->CreateSession(&context, {}, &session).ok());
    return session.session_id();
  }
  static v1::ResumeTurnRequest Resume(const std::string& id, int64_t from_seq) {
    v1::ResumeTurnRequest request;
    request.set_session_id(id);
    request.set_from_seq(from_seq);
    return request;
  }
  static v1::GenerateRequest SessionTurn(v1::OnCancel on_cancel) {
    v1::GenerateRequest request = TextRequest("hello");
    request.set_session_id("s");
    request.set_on_cancel(on_cancel);
    return request;
  }
  static grpc::Status End(grpc::ClientReader<v1::GenerateResponse>& reader) {
    v1::GenerateResponse response;
    while (reader.Read(&response)) {
    }
    return reader.Finish();
  }
  static TurnDelta Numbered(const std::string& text, int64_t seq) {
    TurnDelta delta = TextDelta(text, {1});
    delta.seq = seq;
    return delta;
  }
};

TEST_F(ResumeTest, TheRestOfATurn) {
  const std::string id = CreateSession();
  grpc::ClientContext context;
  Reader reader = stub_->ResumeTurn(&context, Resume(id, 7));
  const auto resume = engine_.NextResume();
  EXPECT_EQ(resume.session_id, id);
  EXPECT_EQ(resume.from_seq, 7);
  v1::GenerateResponse response;
  for (int64_t seq = 8; seq < 12; ++seq) {
    resume.stream->Push(Numbered(std::to_string(seq), seq));
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.text(), std::to_string(seq));
    EXPECT_EQ(response.seq(), seq);
    EXPECT_FALSE(response.has_acknowledgement());
  }
  TurnDelta last = FinishedDelta(FinishReason::kStop);
  last.seq = 11;
  last.acknowledgement = {.turn = 3, .digest = 77, .durability = Durability::kJournal};
  resume.stream->Push(last);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.seq(), 11);
  EXPECT_EQ(response.acknowledgement().turn(), 3);
  EXPECT_EQ(response.acknowledgement().digest(), 77u);
  EXPECT_EQ(response.acknowledgement().durability(), v1::DURABILITY_JOURNAL);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ResumeTest, AnEndedTurnEndsAsItDid) {
  grpc::ClientContext context;
  Reader reader = stub_->ResumeTurn(&context, Resume(CreateSession(), 0));
  engine_.NextResume().stream->Push(FinishedDelta(FinishReason::kDeadline, absl::DeadlineExceededError("too late")));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_DEADLINE);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ResumeTest, BadRequests) {
  const std::string id = CreateSession();
  const auto resume = [&](const v1::ResumeTurnRequest& request) {
    grpc::ClientContext context;
    return stub_->ResumeTurn(&context, request)->Finish();
  };
  EXPECT_THAT(resume({}).error_message(), StartsWith("session_id must"));
  EXPECT_THAT(resume(Resume(id, -1)).error_message(), StartsWith("from_seq must"));
  EXPECT_THAT(resume(Resume(id, 1001)).error_message(), StartsWith("from_seq must"));
  EXPECT_EQ(resume(Resume(id, 1001)).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(resume(Resume("unknown", 0)).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(resume(Resume(std::string(100'000, 'x'), 0)).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ResumeTest, LeavingDoesNotCancelTheTurn) {
  const std::string id = CreateSession();
  for (const bool by_deadline : {false, true}) {
    for (const int deltas : {0, 1, 200}) {
      grpc::ClientContext context;
      if (by_deadline) context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
      Reader reader = stub_->ResumeTurn(&context, Resume(id, 0));
      const auto resume = engine_.NextResume();
      // 200 do not fit the client's window: a write is in flight.
      for (int i = 0; i < deltas; ++i) resume.stream->Push(TextDelta(std::string(100'000, 'x'), {i}));
      if (!by_deadline) context.TryCancel();
      EXPECT_EQ(reader->Finish().error_code(),
                by_deadline ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::CANCELLED);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // until the server has heard of it
      EXPECT_FALSE(resume.stream->cancelled());
      resume.stream->Push(TextDelta("more", {1}));  // with which the call is left
    }
  }
  const auto before = std::chrono::steady_clock::now();
  endpoint_->Stop(std::chrono::seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
}

TEST_F(ResumeTest, OnlyContinueOutlivesItsCaller) {
  for (const v1::OnCancel on_cancel : {v1::ON_CANCEL_UNSPECIFIED, v1::ON_CANCEL_KEEP, v1::ON_CANCEL_ROLLBACK}) {
    grpc::ClientContext context;
    Reader reader = stub_->Generate(&context, SessionTurn(on_cancel));
    const FakeTurn turn = engine_.NextTurn();
    EXPECT_EQ(turn.request.on_cancel == OnCancel::kRollback, on_cancel == v1::ON_CANCEL_ROLLBACK);
    context.TryCancel();
    WaitUntil([&] { return turn.stream->cancelled(); });
    turn.stream->Push(FinishedDelta(FinishReason::kCancelled));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  for (const int deltas : {0, 1, 200}) {
    grpc::ClientContext context;
    Reader reader = stub_->Generate(&context, SessionTurn(v1::ON_CANCEL_CONTINUE));
    const FakeTurn turn = engine_.NextTurn();
    for (int i = 0; i < deltas; ++i) turn.stream->Push(TextDelta(std::string(100'000, 'x'), {i}));
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(turn.stream->cancelled());
    for (int i = 0; i < 10; ++i) turn.stream->Push(TextDelta("more", {i}));
    turn.stream->Push(FinishedDelta(FinishReason::kLength));
  }
}

// The engine ends it, as it ends others.
TEST_F(ResumeTest, ADeadlineEndsATurnThatContinues) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  Reader reader = stub_->Generate(&context, SessionTurn(v1::ON_CANCEL_CONTINUE));
  const FakeTurn turn = engine_.NextTurn();
  EXPECT_NE(turn.request.deadline, SteadyTime::max());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  turn.stream->Push(FinishedDelta(FinishReason::kDeadline));
}

// Reading a session's files holds up others that wait, and nobody else.
TEST_F(ResumeTest, TurnsThatWaitForFilesLeaveCallbackThreadsAndTextFree) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  engine_.SubmitWaitsFromNowOn();
  engine_.OnWait([released] { released.wait(); });
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<Reader> readers;
  for (int i = 0; i < 16; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(contexts.back().get(), SessionTurn(v1::ON_CANCEL_KEEP)));
  }
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ServerInfo info;
    ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
    grpc::ClientContext text_context;
    text_context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::TokenizeRequest text;
    text.set_text(std::string(200'000, 'x'));
    v1::TokenizeResponse ids;
    ASSERT_TRUE(stub_->Tokenize(&text_context, text, &ids).ok());
  }
  release.set_value();
  for (size_t i = 0; i < readers.size(); ++i) engine_.NextTurn().stream->Push(FinishedDelta(FinishReason::kStop));
  for (Reader& reader : readers) EXPECT_TRUE(End(*reader).ok());
}

TEST_F(ResumeTest, ATurnWhoseCallerLeftBeforeItsTurnCameIsNotBegun) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  engine_.SubmitWaitsFromNowOn();
  engine_.OnWait([released] { released.wait(); });
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<Reader> readers;
  for (int i = 0; i < 4; ++i) {  // all that wait are busy
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(contexts.back().get(), SessionTurn(v1::ON_CANCEL_KEEP)));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (const v1::OnCancel on_cancel : {v1::ON_CANCEL_KEEP, v1::ON_CANCEL_CONTINUE}) {
    grpc::ClientContext context;
    v1::GenerateRequest request = SessionTurn(on_cancel);
    request.set_turn_id("left");
    Reader reader = stub_->Generate(&context, request);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until it is queued
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  release.set_value();
  int left = 0;
  for (int i = 0; i < 5; ++i) {
    const FakeTurn turn = engine_.NextTurn();
    if (turn.request.turn_id == "left") {
      ++left;
      EXPECT_EQ(turn.request.on_cancel, OnCancel::kContinue);
    }
    turn.stream->Push(FinishedDelta(FinishReason::kStop));
  }
  EXPECT_EQ(left, 1);
  for (Reader& reader : readers) EXPECT_TRUE(End(*reader).ok());
}

TEST_F(ResumeTest, DamagedFilesAreToldByTheirName) {
  engine_.FailWith(absl::DataLossError("the session's journal is damaged"));
  grpc::ClientContext context;
  const grpc::Status status = stub_->Generate(&context, SessionTurn(v1::ON_CANCEL_KEEP))->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(), "the session's journal is damaged");
}

TEST_F(ResumeTest, BadFieldsNeverReachTheEngine) {
  v1::GenerateRequest turn_id = SessionTurn(v1::ON_CANCEL_KEEP);
  turn_id.set_turn_id(std::string(65, 'x'));
  v1::GenerateRequest durability = SessionTurn(v1::ON_CANCEL_KEEP);
  durability.set_durability(static_cast<v1::Durability>(9));
  for (const v1::GenerateRequest& request : {turn_id, durability, SessionTurn(static_cast<v1::OnCancel>(9))}) {
    grpc::ClientContext context;
    EXPECT_EQ(stub_->Generate(&context, request)->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  v1::ScoreRequest score;
  score.set_session_id("s");
  score.mutable_prompt()->set_text("it was");
  score.set_on_cancel(v1::ON_CANCEL_CONTINUE);
  grpc::ClientContext context;
  EXPECT_THAT(stub_->Score(&context, score)->Finish().error_message(), HasSubstr("on_cancel"));
}

}  // namespace
}  // namespace cascade
