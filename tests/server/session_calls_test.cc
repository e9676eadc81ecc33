// Unary calls about sessions that last: durability, parking, rewinding; what becomes of them when nobody waits.
#include <atomic>
#include <future>

#include "tests/server/endpoint_fixture.h"

namespace cascade {
namespace {

using grpc::StatusCode;
using testing::StartsWith;

class SessionCallsTest : public EndpointFixture {
 protected:
  grpc::Status Create(v1::Durability durability, v1::Session* session) {
    v1::CreateSessionRequest request;
    request.set_durability(durability);
    grpc::ClientContext context;
    return stub_->CreateSession(&context, request, session);
  }
  std::string CreateSession() {
    v1::Session session;
    EXPECT_TRUE(Create(v1::DURABILITY_UNSPECIFIED, &session).ok());
    return session.session_id();
  }
  grpc::Status Park(const std::string& id, v1::ParkTarget target, v1::Session* session) {
    v1::ParkSessionRequest request;
    request.set_session_id(id);
    request.set_target(target);
    grpc::ClientContext context;
    return stub_->ParkSession(&context, request, session);
  }
  grpc::Status Rewind(const v1::RewindSessionRequest& request, v1::Session* session) {
    grpc::ClientContext context;
    return stub_->RewindSession(&context, request, session);
  }
  static void ExpectInvalid(const grpc::Status& status, const std::string& field) {
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), StartsWith(field));
  }
};

TEST_F(SessionCallsTest, Durability) {
  v1::Session session;
  for (const v1::Durability durability : {v1::DURABILITY_NONE, v1::DURABILITY_JOURNAL, v1::DURABILITY_IMAGE}) {
    ASSERT_TRUE(Create(durability, &session).ok());
    EXPECT_EQ(session.durability(), durability);
    EXPECT_EQ(session.digest(), 0x123456789ABCDEF0u);
  }
  ASSERT_TRUE(Create(v1::DURABILITY_UNSPECIFIED, &session).ok());
  EXPECT_EQ(session.durability(), v1::DURABILITY_NONE);  // the engine's own
  for (const int bad : {-1, 4}) ExpectInvalid(Create(static_cast<v1::Durability>(bad), &session), "durability");
}

TEST_F(SessionCallsTest, Park) {
  const std::string id = CreateSession();
  v1::Session session;
  ASSERT_TRUE(Park(id, v1::PARK_TARGET_HOST, &session).ok());
  EXPECT_EQ(session.state(), v1::SESSION_STATE_PARKED_HOST);
  ASSERT_TRUE(Park(id, v1::PARK_TARGET_UNSPECIFIED, &session).ok());
  EXPECT_EQ(session.state(), v1::SESSION_STATE_PARKED_DISK);
  EXPECT_EQ(Park("unknown", v1::PARK_TARGET_DISK, &session).error_code(), StatusCode::NOT_FOUND);
  ExpectInvalid(Park("", v1::PARK_TARGET_DISK, &session), "session_id");
  for (const int bad : {-1, 3}) ExpectInvalid(Park(id, static_cast<v1::ParkTarget>(bad), &session), "target");
}

TEST_F(SessionCallsTest, Rewind) {
  v1::RewindSessionRequest request;
  v1::Session session;
  ExpectInvalid(Rewind(request, &session), "session_id");
  request.set_session_id("unknown");
  EXPECT_EQ(Rewind(request, &session).error_code(), StatusCode::NOT_FOUND);
  request.set_session_id(CreateSession());
  ASSERT_TRUE(Rewind(request, &session).ok());
  request.set_to_turn(3);
  request.set_expected_position(7);
  request.set_allow_replay(true);
  ASSERT_TRUE(Rewind(request, &session).ok());
  EXPECT_EQ(session.turns(), 3);
  request.set_take_back(1);
  ExpectInvalid(Rewind(request, &session), "take_back");
  request.clear_to_turn();
  request.set_take_back(0);
  ExpectInvalid(Rewind(request, &session), "take_back");
  request.set_take_back(1);
  request.set_expected_position(-1);
  ExpectInvalid(Rewind(request, &session), "expected_position");
  const std::vector<RewindRequest> rewinds = engine_.rewinds();
  ASSERT_EQ(rewinds.size(), 2u);
  EXPECT_EQ(rewinds[0].take_back, 1);
  EXPECT_EQ(rewinds[1].to_turn, 3);
  EXPECT_EQ(rewinds[1].expected_position, 7);
  EXPECT_TRUE(rewinds[1].allow_replay);
}

TEST_F(SessionCallsTest, ErrorsOfTheEngineKeepTheirCodeAndText) {
  const std::string id = CreateSession();
  for (const absl::Status& status :
       {absl::DataLossError("the journal is damaged"), absl::UnavailableError("another server has the session"),
        absl::AbortedError("busy"), absl::FailedPreconditionError("of another model"),
        absl::ResourceExhaustedError("full")}) {
    engine_.FailWith(status);
    v1::Session session;
    v1::RewindSessionRequest rewind;
    rewind.set_session_id(id);
    for (const grpc::Status& answer :
         {Create(v1::DURABILITY_NONE, &session), Park(id, v1::PARK_TARGET_DISK, &session), Rewind(rewind, &session)}) {
      EXPECT_EQ(static_cast<int>(answer.error_code()), static_cast<int>(status.code()));
      EXPECT_EQ(answer.error_message(), std::string(status.message()));
    }
  }
}

// They would be held in a queue.
TEST_F(SessionCallsTest, LargeRequestsAreRefused) {
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_session_id(std::string(1 << 20, 'x'));
  v1::Session session;
  EXPECT_EQ(stub_->GetSession(&context, request, &session).error_code(), StatusCode::INVALID_ARGUMENT);
}

// Who has gone away would never learn the new session's id, and nobody would delete it.
TEST_F(SessionCallsTest, ASessionThatNobodyWaitsForIsUndone) {
  grpc::ClientContext context;
  std::atomic<int> waits{0};  // inside the engine: the creation's, then the deletion's
  engine_.OnWait([&] {
    if (++waits > 1) return;
    context.TryCancel();
    std::this_thread::sleep_for(std::chrono::seconds(1));  // until the server has heard of it
  });
  v1::Session session;
  EXPECT_EQ(stub_->CreateSession(&context, {}, &session).error_code(), StatusCode::CANCELLED);
  WaitUntil([&] { return waits.load() == 2 && engine_.metrics().sessions.load() == 0; });
  engine_.OnWait(nullptr);
}

// All that may wait: none of them is on a callback thread, and who leaves before its turn has done nothing.
TEST_F(SessionCallsTest, CallsThatWaitLeaveOthersFree) {
  const std::string id = CreateSession();
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  engine_.OnWait([released] { released.wait(); });
  const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(500);
  const auto call = [&](auto method, auto request, auto response) {
    return std::async(std::launch::async, [=, this] {
      grpc::ClientContext context;
      context.set_deadline(deadline);
      return (stub_.get()->*method)(&context, request, response.get()).error_code();
    });
  };
  using Stub = v1::Cascade::Stub;
  const auto session = [] { return std::make_shared<v1::Session>(); };
  v1::GetSessionRequest get;
  get.set_session_id(id);
  v1::ParkSessionRequest park;
  park.set_session_id(id);
  v1::RewindSessionRequest rewind;
  rewind.set_session_id(id);
  v1::ForkSessionRequest fork;
  fork.set_session_id(id);
  std::vector<std::future<StatusCode>> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(call(&Stub::CreateSession, v1::CreateSessionRequest(), session()));
    calls.push_back(call(&Stub::GetSession, get, session()));
    calls.push_back(call(&Stub::ListSessions, v1::ListSessionsRequest(), std::make_shared<v1::ListSessionsResponse>()));
    calls.push_back(call(&Stub::ParkSession, park, session()));
    calls.push_back(call(&Stub::RewindSession, rewind, session()));
    calls.push_back(call(&Stub::ForkSession, fork, session()));
  }
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ServerInfo info;
    ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  }
  for (auto& running : calls) EXPECT_EQ(running.get(), StatusCode::DEADLINE_EXCEEDED);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until the server has heard of all
  release.set_value();
  // Four were inside, and those that made a session have taken it back.
  v1::Session one;
  EXPECT_TRUE(Park(id, v1::PARK_TARGET_DISK, &one).ok());
  EXPECT_LE(engine_.rewinds().size(), 4u);
  WaitUntil([&] { return engine_.metrics().sessions.load() == 1; });
}

}  // namespace
}  // namespace cascade
