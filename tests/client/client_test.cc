// The library against a server in this process.
#include "client/client.h"

#include <gtest/gtest.h>

#include "client/session.h"
#include "tests/client/fake_cascade.h"

namespace cascade::client {
namespace {

TEST(Client, SaysAtOnceThatNobodyListens) {
  Client client({.address = "127.0.0.1:1"});
  const grpc::Status status = client.Connect(std::chrono::seconds(30));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("127.0.0.1:1"), std::string::npos);
}

TEST(Client, StreamsATurnOfASession) {
  FakeCascade server;
  Client client({.address = server.address()});
  ASSERT_TRUE(client.Connect(std::chrono::seconds(30)).ok());
  std::unique_ptr<Session> session;
  ASSERT_TRUE(Session::Create(client, "label", &session).ok());
  v1::Message message;
  message.set_role("user");
  message.set_content("hello");
  const auto stream = session->Send({message});
  std::string text;
  v1::GenerateResponse last;
  for (v1::GenerateResponse part; stream->Next(&part); last = part) text += part.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "echo: hello");
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(server.session_metadata(), session->id());
  EXPECT_TRUE(session->Delete().ok());
  EXPECT_EQ(Session::Attach(client, session->id(), &session).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(Client, ResumesATurn) {
  FakeCascade server;
  Client client({.address = server.address()});
  v1::ResumeTurnRequest request;
  request.set_session_id("s");
  request.set_from_seq(7);
  const auto stream = client.ResumeTurn(request);
  v1::GenerateResponse part;
  ASSERT_TRUE(stream->Next(&part));
  EXPECT_EQ(part.text(), "rest after 7");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(Client, ADroppedImportIsCancelled) {
  FakeCascade server;
  Client client({.address = server.address()});
  EXPECT_TRUE(client.ImportSession({})->Send("some bytes"));
  v1::Session session;
  const auto empty = client.ImportSession({});
  EXPECT_TRUE(empty->Finish(&session).ok());
  EXPECT_EQ(server.import_options().size(), 1u);
}

TEST(Client, AnImportThatIsRefusedTakesNoMore) {
  FakeCascade server;
  Client client({.address = server.address()});
  const auto import = client.ImportSession({});
  for (int i = 0; i < 1000 && import->Send("refuse" + std::string(1 << 20, 'x')); ++i) {
  }
  v1::Session session;
  EXPECT_EQ(import->Finish(&session).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(session.session_id(), "");
}

TEST(Client, CancelEndsAStream) {
  FakeCascade server;
  server.ReplyForever(true);
  Client client({.address = server.address()});
  const auto stream = client.Generate({});
  v1::GenerateResponse part;
  ASSERT_TRUE(stream->Next(&part));
  stream->Cancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_FALSE(stream->Next(&part));
}

TEST(Client, ADroppedStreamIsCancelled) {
  FakeCascade server;
  server.ReplyForever(true);
  Client client({.address = server.address()});
  v1::GenerateResponse part;
  ASSERT_TRUE(client.Generate({})->Next(&part));
}

TEST(Client, TimeoutIsTheDeadlineOfACall) {
  FakeCascade server;
  server.ReplyForever(true);
  Client client({.address = server.address(), .timeout = std::chrono::milliseconds(200)});
  EXPECT_EQ(client.Generate({})->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

}  // namespace
}  // namespace cascade::client
