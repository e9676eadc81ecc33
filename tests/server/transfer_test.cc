// ExportSession and ImportSession: pieces, order, limits, and callers that leave.
#include <future>

#include "server/export_reactor.h"
#include "tests/server/endpoint_fixture.h"

namespace cascade {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::StartsWith;

class TransferTest : public EndpointFixture {
 protected:
  // A call of ImportSession.
  struct Import {
    explicit Import(v1::Cascade::Stub& stub) : writer(stub.ImportSession(&context, &session)) {}
    bool Send(const std::string& data) {
      v1::ImportSessionRequest request;
      request.set_data(data);
      return writer->Write(request);
    }
    bool SendOptions(const v1::ImportOptions& options = {}) {
      v1::ImportSessionRequest request;
      *request.mutable_options() = options;
      return writer->Write(request);
    }
    grpc::Status Finish() {
      writer->WritesDone();
      return writer->Finish();
    }
    grpc::ClientContext context;
    v1::Session session;
    std::unique_ptr<grpc::ClientWriter<v1::ImportSessionRequest>> writer;
  };

  std::string CreateSession() {
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(stub_->CreateSession(&context, {}, &session).ok());
    return session.session_id();
  }
  grpc::Status Export(const v1::ExportSessionRequest& request, std::vector<v1::ExportSessionResponse>* parts) {
    grpc::ClientContext context;
    auto reader = stub_->ExportSession(&context, request);
    for (v1::ExportSessionResponse part; reader->Read(&part);) parts->push_back(part);
    return reader->Finish();
  }
  static std::string Joined(const std::vector<v1::ExportSessionResponse>& parts) {
    std::string bytes;
    for (const auto& part : parts) bytes += part.data();
    return bytes;
  }
  // As the engine gave it.
  static std::string Bytes(const SessionExport& session) {
    std::string bytes(session.head.begin(), session.head.end());
    if (session.cache == nullptr) return bytes;
    const auto cache = session.cache->bytes();
    return bytes.append(reinterpret_cast<const char*>(cache.data()), cache.size());
  }
};

TEST_F(TransferTest, AnExportGoesOutInPieces) {
  v1::ExportSessionRequest request;
  request.set_session_id(CreateSession());
  for (const size_t head : {size_t{1}, kExportPieceBytes - 1, kExportPieceBytes, kExportPieceBytes + 1}) {
    for (const size_t cache : {size_t{0}, size_t{1}, kExportPieceBytes, 3 * kExportPieceBytes + 5}) {
      SessionExport session;
      for (size_t i = 0; i < head; ++i) session.head.push_back(static_cast<uint8_t>(i % 251));
      if (cache > 0) session.cache = FakeCache(cache);
      const std::string bytes = Bytes(session);
      engine_.SetExport(session);
      std::vector<v1::ExportSessionResponse> parts;
      ASSERT_TRUE(Export(request, &parts).ok());
      EXPECT_TRUE(Joined(parts) == bytes) << head << " " << cache;
      EXPECT_EQ(parts.size(), (bytes.size() + kExportPieceBytes - 1) / kExportPieceBytes);
      for (size_t i = 0; i < parts.size(); ++i) {
        EXPECT_EQ(parts[i].total_bytes(), static_cast<int64_t>(bytes.size()));
        if (i + 1 < parts.size()) {
          EXPECT_EQ(parts[i].data().size(), kExportPieceBytes);
        }
      }
    }
  }
}

TEST_F(TransferTest, HistoryAndBadExports) {
  v1::ExportSessionRequest request;
  std::vector<v1::ExportSessionResponse> parts;
  EXPECT_THAT(Export(request, &parts).error_message(), StartsWith("session_id must"));
  request.set_session_id("unknown");
  EXPECT_EQ(Export(request, &parts).error_code(), StatusCode::NOT_FOUND);
  request.set_session_id(std::string(1 << 20, 'x'));
  EXPECT_EQ(Export(request, &parts).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(parts.empty());
  request.set_session_id(CreateSession());
  request.set_with_history(true);
  ASSERT_TRUE(Export(request, &parts).ok());
  EXPECT_THAT(Joined(parts), StartsWith("headhistory"));
  engine_.FailWith(absl::FailedPreconditionError("the history is not kept"));
  EXPECT_EQ(Export(request, &parts).error_message(), "the history is not kept");
}

TEST_F(TransferTest, WhoLeavesAnExportFreesIt) {
  v1::ExportSessionRequest request;
  request.set_session_id(CreateSession());
  SessionExport session;
  session.head = {1};
  session.cache = FakeCache(32 << 20);
  const std::weak_ptr<kernels::HostMemory> held = session.cache;
  engine_.SetExport(std::move(session));
  {
    grpc::ClientContext context;
    auto reader = stub_->ExportSession(&context, request);
    v1::ExportSessionResponse part;
    ASSERT_TRUE(reader->Read(&part));
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  }
  engine_.SetExport({});
  WaitUntil([&] { return held.expired(); });
}

TEST_F(TransferTest, AnImportInAnyPieces) {
  for (const std::vector<std::string>& pieces :
       {std::vector<std::string>{"head and cache"}, {"h", "e", "a", "d"}, {"head", std::string(5 << 20, 'x'), "y"}}) {
    Import import(*stub_);
    v1::ImportOptions options;
    options.set_label("copy");
    options.set_durability(v1::DURABILITY_IMAGE);
    options.set_replay(true);
    EXPECT_TRUE(import.SendOptions(options));
    std::string sent;
    for (const std::string& piece : pieces) {
      EXPECT_TRUE(import.Send(piece));
      sent += piece;
    }
    const grpc::Status status = import.Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(import.session.label(), "copy");
    const FakeEngine::Imported imported = engine_.imported().back();
    EXPECT_TRUE(imported.bytes == sent);
    EXPECT_EQ(imported.label, "copy");
    EXPECT_EQ(imported.durability, Durability::kImage);
    EXPECT_TRUE(imported.replay);
  }
  Import plain(*stub_);
  plain.SendOptions();
  plain.Send("head");
  ASSERT_TRUE(plain.Finish().ok());
  EXPECT_EQ(engine_.imported().back().durability, std::nullopt);
  EXPECT_FALSE(engine_.imported().back().replay);
  WaitUntil([&] { return engine_.imports_open() == 0; });
}

TEST_F(TransferTest, BadImports) {
  v1::ImportOptions label, durability;
  label.set_label("two words");
  durability.set_durability(static_cast<v1::Durability>(9));
  const struct {
    std::function<void(Import&)> send;
    StatusCode code;
    const char* names;
  } rows[] = {
      {[](Import&) {}, StatusCode::INVALID_ARGUMENT, "options must"},
      {[](Import& i) { i.Send("head"); }, StatusCode::INVALID_ARGUMENT, "options must"},
      {[](Import& i) { i.writer->Write({}); }, StatusCode::INVALID_ARGUMENT, "options must"},
      {[](Import& i) { i.SendOptions(), i.SendOptions(); }, StatusCode::INVALID_ARGUMENT, "options must"},
      {[](Import& i) { i.SendOptions(), i.writer->Write({}); }, StatusCode::INVALID_ARGUMENT, "data must"},
      {[](Import& i) { i.SendOptions(), i.Send(""); }, StatusCode::INVALID_ARGUMENT, "data must"},
      {[&](Import& i) { i.SendOptions(label); }, StatusCode::INVALID_ARGUMENT, "options.label must"},
      {[&](Import& i) { i.SendOptions(durability); }, StatusCode::INVALID_ARGUMENT, "options.durability must"},
      {[](Import& i) { i.SendOptions(); }, StatusCode::DATA_LOSS, "damaged"},
      {[](Import& i) { i.SendOptions(), i.Send("garbage"); }, StatusCode::DATA_LOSS, "damaged"},
      {[](Import& i) {
         i.SendOptions();
         for (int n = 0; n < 100 && i.Send(std::string(1 << 20, 'x')); ++n) {
         }
       },
       StatusCode::RESOURCE_EXHAUSTED, "longer"},
  };
  for (const auto& row : rows) {
    Import import(*stub_);
    row.send(import);
    const grpc::Status status = import.Finish();
    EXPECT_EQ(status.error_code(), row.code) << row.names;
    EXPECT_THAT(status.error_message(), HasSubstr(row.names));
  }
  engine_.FailWith(absl::UnavailableError("the server is draining"));
  Import import(*stub_);
  import.SendOptions();
  EXPECT_EQ(import.Finish().error_code(), StatusCode::UNAVAILABLE);
  engine_.FailWith(absl::OkStatus());
  EXPECT_EQ(engine_.metrics().sessions.load(), 0);
  WaitUntil([&] { return engine_.imports_open() == 0; });
}

TEST_F(TransferTest, WhoLeavesAnImportLeavesNothing) {
  for (const int pieces : {0, 1, 10}) {
    Import import(*stub_);
    import.SendOptions();
    for (int i = 0; i < pieces; ++i) import.Send("head" + std::string(1 << 20, 'x'));
    WaitUntil([&] { return engine_.imports_open() == 1; });
    import.context.TryCancel();
    EXPECT_EQ(import.writer->Finish().error_code(), StatusCode::CANCELLED);
    WaitUntil([&] { return engine_.imports_open() == 0; });
  }
  EXPECT_TRUE(engine_.imported().empty());
  EXPECT_EQ(engine_.metrics().sessions.load(), 0);
}

// The engine takes one message at a time; the next is not even read.
TEST_F(TransferTest, AnImportIsNoFasterThanTheEngine) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  Import import(*stub_);
  import.SendOptions();
  WaitUntil([&] { return engine_.imports_open() == 1; });
  engine_.OnWait([released] { released.wait(); });
  std::atomic<int> sent{0};
  auto sender = std::async(std::launch::async, [&] {
    for (int i = 0; i < 60; ++i) {
      if (!import.Send(i == 0 ? "head" : std::string(1 << 20, 'x'))) return;
      ++sent;
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(sent.load(), 30);
  release.set_value();
  sender.get();
  EXPECT_TRUE(import.Finish().ok());
  EXPECT_EQ(sent.load(), 60);
  EXPECT_EQ(engine_.imported().back().bytes.size(), 4u + (59u << 20));
  engine_.OnWait(nullptr);
}

// Each holds a session in memory for as long as its client likes.
TEST_F(TransferTest, ThereAreSoManyAtOnce) {
  v1::ExportSessionRequest request;
  request.set_session_id(CreateSession());
  std::vector<std::unique_ptr<Import>> imports;
  for (int i = 0; i < EndpointOptions().max_transfers; ++i) {
    imports.push_back(std::make_unique<Import>(*stub_));
    imports.back()->SendOptions();
  }
  WaitUntil([&] { return engine_.imports_open() == EndpointOptions().max_transfers; });
  std::vector<v1::ExportSessionResponse> parts;
  EXPECT_EQ(Export(request, &parts).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  Import one_more(*stub_);
  one_more.SendOptions();
  EXPECT_EQ(one_more.Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  for (auto& import : imports) {
    import->Send("head");
    EXPECT_TRUE(import->Finish().ok());
  }
  WaitUntil([&] { return engine_.imports_open() == 0; });
  // The share is given back a moment after the answer.
  WaitUntil([&] {
    parts.clear();
    return Export(request, &parts).ok();
  });
}

TEST_F(TransferTest, StopCutsTransfers) {
  Import import(*stub_);
  import.SendOptions();
  WaitUntil([&] { return engine_.imports_open() == 1; });
  endpoint_->Stop(std::chrono::milliseconds(50));
  EXPECT_FALSE(import.Finish().ok());
  EXPECT_EQ(engine_.imports_open(), 0);
}

}  // namespace
}  // namespace cascade
