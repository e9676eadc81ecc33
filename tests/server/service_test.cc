// Unary calls, inspection, health, reflection and listening.
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <future>
#include <thread>

#include "server/engine_statistics.h"
#include "server/exit_code.h"
#include "tests/server/endpoint_fixture.h"

namespace cascade {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Calls a method by its name, in bytes: health and reflection have no generated code here.
grpc::Status CallBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& request, std::string* response) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  const grpc::Slice slice(request);
  const grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, method, grpc::StubOptions(), &in, &out,
                 [&](grpc::Status s) { done.set_value(std::move(s)); });
  grpc::Status status = done.get_future().get();
  grpc::Slice whole;
  if (status.ok() && out.DumpToSingleSlice(&whole).ok()) response->assign(whole.begin(), whole.end());
  return status;
}

// 1: SERVING, 2: NOT_SERVING, -1: the name is not known.
int Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string response;
  const std::string request = std::string("\x0A") + static_cast<char>(service.size()) + service;
  const grpc::Status status = CallBytes(channel, "/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return -1;
  return response.size() == 2 && response[0] == 8 ? response[1] : 0;
}

grpc::Status ListByReflection(const std::shared_ptr<grpc::Channel>& channel, std::string* response) {
  return CallBytes(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                   std::string("\x3A\x00", 2), response);
}

class ServiceTest : public EndpointFixture {
 protected:
  std::string CreateSession() {
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(stub_->CreateSession(&context, {}, &session).ok());
    return session.session_id();
  }
};

TEST_F(ServiceTest, SessionsFromCreationToDeletion) {
  v1::CreateSessionRequest create;
  create.set_label("reader");
  v1::Session session;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->CreateSession(&context, create, &session).ok());
    EXPECT_EQ(session.label(), "reader");
    EXPECT_EQ(session.position(), 7);
    EXPECT_THAT(session.geometry().sub_cache_tokens(), ElementsAre(16, 16));
  }
  v1::GetSessionRequest get;
  get.set_session_id(session.session_id());
  {
    grpc::ClientContext context;
    v1::Session again;
    ASSERT_TRUE(stub_->GetSession(&context, get, &again).ok());
    EXPECT_EQ(again.SerializeAsString(), session.SerializeAsString());
  }
  v1::DeleteSessionRequest remove;
  remove.set_session_id(session.session_id());
  v1::DeleteSessionResponse removed;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->DeleteSession(&context, remove, &removed).ok());
  }
  {
    grpc::ClientContext context;
    v1::Session again;
    EXPECT_EQ(stub_->GetSession(&context, get, &again).error_code(), grpc::StatusCode::NOT_FOUND);
  }
}

TEST_F(ServiceTest, ForkSession) {
  v1::ForkSessionRequest request;
  request.set_session_id(CreateSession());
  request.set_label("other");
  const auto fork = [&](v1::Session* session) {
    grpc::ClientContext context;
    return stub_->ForkSession(&context, request, session);
  };
  v1::Session session;
  ASSERT_TRUE(fork(&session).ok());
  EXPECT_NE(session.session_id(), request.session_id());
  EXPECT_EQ(session.label(), "other");
  EXPECT_EQ(session.position(), 7);
  request.set_expected_position(8);
  EXPECT_EQ(fork(&session).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  request.set_expected_position(-1);
  EXPECT_EQ(fork(&session).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(fork(&session).error_message(), testing::StartsWith("expected_position"));
  request.clear_expected_position();
  request.set_label("two words");
  EXPECT_THAT(fork(&session).error_message(), testing::StartsWith("label"));
  request.clear_label();
  request.set_session_id("unknown");
  EXPECT_EQ(fork(&session).error_code(), grpc::StatusCode::NOT_FOUND);
  request.clear_session_id();
  EXPECT_THAT(fork(&session).error_message(), testing::StartsWith("session_id"));
}

// Who has gone away would never learn the new session's id, and nobody would delete it.
TEST_F(ServiceTest, AForkThatNobodyWaitsForIsUndone) {
  v1::ForkSessionRequest request;
  request.set_session_id(CreateSession());
  grpc::ClientContext context;
  std::atomic<int> waits{0};  // inside the engine: the fork's, then the deletion's
  engine_.OnWait([&] {
    if (++waits > 1) return;
    context.TryCancel();
    std::this_thread::sleep_for(std::chrono::seconds(1));  // until the server has heard of it
  });
  v1::Session session;
  EXPECT_EQ(stub_->ForkSession(&context, request, &session).error_code(), grpc::StatusCode::CANCELLED);
  const auto sessions = [&] { return engine_.metrics().sessions.load(); };
  for (int i = 0; i < 1000 && (waits.load() < 2 || sessions() > 1); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(waits.load(), 2);
  EXPECT_EQ(sessions(), 1);
  engine_.OnWait(nullptr);
}

TEST_F(ServiceTest, PagesOfSessions) {
  for (int i = 0; i < 5; ++i) CreateSession();
  v1::ListSessionsRequest request;
  request.set_page_size(2);
  int found = 0;
  int pages = 0;
  do {
    grpc::ClientContext context;
    v1::ListSessionsResponse response;
    ASSERT_TRUE(stub_->ListSessions(&context, request, &response).ok());
    found += response.sessions_size();
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(found, 5);
  EXPECT_EQ(pages, 3);
}

TEST_F(ServiceTest, BadFieldsOfUnaryCalls) {
  const auto expect_invalid = [](const grpc::Status& status, const std::string& field) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), testing::StartsWith(field));
  };
  {
    grpc::ClientContext context;
    v1::CreateSessionRequest request;
    request.set_label("two words");
    v1::Session response;
    expect_invalid(stub_->CreateSession(&context, request, &response), "label");
  }
  {
    grpc::ClientContext context;
    v1::Session response;
    expect_invalid(stub_->GetSession(&context, {}, &response), "session_id");
  }
  {
    grpc::ClientContext context;
    v1::DeleteSessionResponse response;
    expect_invalid(stub_->DeleteSession(&context, {}, &response), "session_id");
  }
  {
    grpc::ClientContext context;
    v1::ListSessionsRequest request;
    request.set_page_size(0);
    v1::ListSessionsResponse response;
    expect_invalid(stub_->ListSessions(&context, request, &response), "page_size");
  }
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text(std::string((1 << 20) + 1, 'x'));
    v1::TokenizeResponse response;
    expect_invalid(stub_->Tokenize(&context, request, &response), "text");
  }
  for (const int bad : {-1, ByteTokenizer::kVocabulary}) {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    request.add_token_ids(1);
    request.add_token_ids(bad);
    v1::DetokenizeResponse response;
    expect_invalid(stub_->Detokenize(&context, request, &response), "token_ids[1]");
  }
  {
    grpc::ClientContext context;
    v1::ApplyChatTemplateResponse response;
    expect_invalid(stub_->ApplyChatTemplate(&context, {}, &response), "messages");
  }
  {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_session_id("\xC0\x80");
    v1::Session response;
    expect_invalid(stub_->GetSession(&context, request, &response), "session_id must be valid UTF-8");
  }
}

TEST_F(ServiceTest, Text) {
  v1::TokenizeResponse ids;
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text("ab<e>");
    request.set_parse_special(true);
    ASSERT_TRUE(stub_->Tokenize(&context, request, &ids).ok());
    EXPECT_THAT(ids.token_ids(), ElementsAre('a', 'b', ByteTokenizer::kEnd));
  }
  {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    *request.mutable_token_ids() = ids.token_ids();
    v1::DetokenizeResponse response;
    ASSERT_TRUE(stub_->Detokenize(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "ab");
  }
  {
    // On the workers.
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text(std::string(500'000, 'x'));
    ASSERT_TRUE(stub_->Tokenize(&context, request, &ids).ok());
    EXPECT_EQ(ids.token_ids_size(), 500'000);
  }
}

TEST_F(ServiceTest, ServerInfo) {
  CreateSession();
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model(), "fake");
  EXPECT_EQ(info.sessions_free(), 6);  // of seven
  for (int i = 0; i < 7; ++i) CreateSession();
  grpc::ClientContext again;
  ASSERT_TRUE(stub_->GetServerInfo(&again, {}, &info).ok());
  EXPECT_EQ(info.sessions_free(), 0);
}

TEST_F(ServiceTest, InspectStreamsOneMessagePerHead) {
  v1::InspectSessionRequest request;
  request.set_session_id(CreateSession());
  const auto count = [&](v1::InspectSessionResponse* last) {
    grpc::ClientContext context;
    auto reader = stub_->InspectSession(&context, request);
    int messages = 0;
    while (reader->Read(last)) ++messages;
    EXPECT_TRUE(reader->Finish().ok());
    return messages;
  };
  v1::InspectSessionResponse last;
  EXPECT_EQ(count(&last), 6);
  request.add_layers(2);
  request.add_kv_heads(1);
  EXPECT_EQ(count(&last), 1);
  EXPECT_EQ(last.layer(), 2);
  EXPECT_EQ(last.kv_head(), 1);
  EXPECT_EQ(last.position(), 9);
  EXPECT_THAT(last.token_indices(), ElementsAre(0, 5, 8));
  EXPECT_THAT(last.sub_caches(), ElementsAre(-1, 0, 1));
  EXPECT_THAT(last.scores(), ElementsAre(0.0f, 0.5f, 0.75f));

  request.add_layers(3);
  grpc::ClientContext context;
  const grpc::Status status = stub_->InspectSession(&context, request)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("layers[1]"));
}

// All workers wait inside the engine; the calls that need no worker are answered as ever.
TEST_F(ServiceTest, WaitingCallsLeaveTheCallbackThreadsFree) {
  const std::string id = CreateSession();
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  engine_.OnWait([released] { released.wait(); });
  std::vector<std::future<void>> waiting;
  for (int i = 0; i < 32; ++i) {
    waiting.push_back(std::async(std::launch::async, [&] {
      grpc::ClientContext context;
      v1::DeleteSessionRequest request;
      request.set_session_id(id);
      v1::DeleteSessionResponse response;
      stub_->DeleteSession(&context, request, &response);
    }));
  }
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ServerInfo info;
    ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  }
  release.set_value();
  for (auto& call : waiting) call.get();
}

TEST_F(ServiceTest, HealthFollowsReadiness) {
  EXPECT_EQ(Health(channel_, ""), 1);
  EXPECT_EQ(Health(channel_, "readiness"), 1);
  EXPECT_EQ(Health(channel_, "liveness"), 1);
  EXPECT_EQ(Health(channel_, "no-such"), -1);
  endpoint_->SetReady(false);
  EXPECT_EQ(Health(channel_, ""), 2);
  EXPECT_EQ(Health(channel_, "readiness"), 2);
  EXPECT_EQ(Health(channel_, "liveness"), 1);
}

TEST_F(ServiceTest, AFaultIsNeitherReadyNorAlive) {
  endpoint_->SetFaulty();
  endpoint_->SetReady(true);
  for (const char* service : {"", "readiness", "liveness"}) EXPECT_EQ(Health(channel_, service), 2) << service;
}

TEST_F(ServiceTest, ReflectionKnowsTheService) {
  std::string response;
  const grpc::Status status = ListByReflection(channel_, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(response, HasSubstr("cascade.v1.Cascade"));
}

class WithoutReflectionTest : public EndpointFixture {
 protected:
  WithoutReflectionTest() : EndpointFixture(false) {}
};

TEST_F(WithoutReflectionTest, ReflectionIsNotThere) {
  std::string response;
  EXPECT_EQ(ListByReflection(channel_, &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Health(channel_, ""), 1);
}

TEST_F(ServiceTest, APortInUseIsNoticed) {
  const auto second = GrpcEndpoint::Start({"127.0.0.1", endpoint_->port(), true, 1},
                                          Served{engine_, tokenizer_, nullptr, v1::ServerInfo()});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(ExitCodeOf(second.status()), ExitCode::kPortInUse);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(endpoint_->address()));
}

TEST_F(ServiceTest, WithoutATemplateMessagesHaveNoMeaning) {
  const auto plain = GrpcEndpoint::Start({"127.0.0.1", 0, true, 1}, Served{engine_, tokenizer_, nullptr, {}});
  ASSERT_TRUE(plain.ok());
  const auto stub = v1::Cascade::NewStub(grpc::CreateChannel((*plain)->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::ApplyChatTemplateRequest request;
  request.add_messages()->set_role("user");
  v1::ApplyChatTemplateResponse response;
  EXPECT_EQ(stub->ApplyChatTemplate(&context, request, &response).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(Statistics, OneLine) {
  StatisticsSample earlier;
  StatisticsSample now;
  EXPECT_FALSE(now.BusySince(earlier));
  now = {.prompt_tokens = 512, .generation_tokens = 206, .running = 3, .waiting = 1, .sessions = 4, .slots_free = 12};
  EXPECT_TRUE(now.BusySince(earlier));
  EXPECT_EQ(FormatStatistics(earlier, now, 5.0),
            "prompt 102.4 tok/s, generation 41.2 tok/s, running 3, waiting 1, sessions 4, slots free 12");
  now.score_heads_predicted = 200, now.score_heads_rejected = 3, now.score_certificate = 0.0412f;
  EXPECT_EQ(FormatStatistics(earlier, now, 5.0),
            "prompt 102.4 tok/s, generation 41.2 tok/s, running 3, waiting 1, sessions 4, slots free 12, scores predicted "
            "98.5 %, certificate 0.041");
  now.parked_host = 2, now.parked_disk = 7, now.journal_batches = 10, now.journal_sync_us = 14'200;
  EXPECT_THAT(FormatStatistics(earlier, now, 5.0),
              HasSubstr("slots free 12, parked 2 host 7 disk, journal fsync 1.42 ms, scores predicted"));
  earlier.journal_batches = 10, earlier.journal_sync_us = 14'200;
  EXPECT_THAT(FormatStatistics(earlier, now, 5.0), testing::Not(HasSubstr("journal")));
  now.score_heads_rejected = 200;
  EXPECT_THAT(FormatStatistics(earlier, now, 5.0), testing::EndsWith(", scores predicted 0.0 %"));
  EXPECT_TRUE(now.BusySince(now));  // a turn runs, however slowly
}

}  // namespace
}  // namespace cascade
