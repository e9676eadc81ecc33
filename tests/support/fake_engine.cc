#include "tests/support/fake_engine.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

class OwnMemory final : public kernels::HostMemory {
 public:
  explicit OwnMemory(size_t bytes) : bytes_(bytes) {
    for (size_t i = 0; i < bytes; ++i) bytes_[i] = static_cast<std::byte>(i * 31 + i / 256);
  }
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<uint8_t> Bytes(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace

// Takes bytes that begin with "head".
class FakeEngine::FakeImport final : public SessionImport {
 public:
  explicit FakeImport(FakeEngine& engine) : engine_(engine) { ++engine_.imports_open_; }
  ~FakeImport() override { --engine_.imports_open_; }
  absl::Status Add(std::span<const uint8_t> bytes) override {
    engine_.Wait();
    if (bytes_.size() + bytes.size() > kMaxImport) return absl::ResourceExhaustedError("longer than any export");
    bytes_.append(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  absl::StatusOr<SessionInfo> Finish(const std::string& label, std::optional<Durability> durability,
                                     bool replay) override {
    if (bytes_.substr(0, 4) != "head") return absl::DataLossError("the bytes are damaged");
    absl::StatusOr<SessionInfo> session = engine_.CreateSession(label, durability);
    MutexLock lock(engine_.mutex_);
    if (session.ok()) engine_.imported_.push_back({bytes_, label, durability, replay});
    return session;
  }

 private:
  static constexpr size_t kMaxImport = 64 << 20;
  FakeEngine& engine_;
  std::string bytes_;
};

FakeEngine::FakeEngine(EngineOptions options) : options_(std::move(options)), export_{Bytes("head"), FakeCache(8)} {}

FakeTurn FakeEngine::NextTurn() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  MutexLock lock(mutex_);
  while (turns_.empty()) CASCADE_CHECK(submitted_.WaitUntil(mutex_, deadline) || !turns_.empty());
  FakeTurn turn = std::move(turns_.front());
  turns_.pop_front();
  return turn;
}

void FakeEngine::FailWith(absl::Status status) {
  MutexLock lock(mutex_);
  failure_ = std::move(status);
}

void FakeEngine::OnWait(std::function<void()> hook) {
  MutexLock lock(mutex_);
  on_wait_ = std::move(hook);
}

void FakeEngine::SetExport(SessionExport session) {
  MutexLock lock(mutex_);
  export_ = std::move(session);
}

std::vector<FakeEngine::Imported> FakeEngine::imported() const {
  MutexLock lock(mutex_);
  return imported_;
}

std::vector<RewindRequest> FakeEngine::rewinds() const {
  MutexLock lock(mutex_);
  return rewinds_;
}

FakeEngine::FakeResume FakeEngine::NextResume() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  MutexLock lock(mutex_);
  while (resumes_.empty()) CASCADE_CHECK(submitted_.WaitUntil(mutex_, deadline) || !resumes_.empty());
  FakeResume resume = std::move(resumes_.front());
  resumes_.pop_front();
  return resume;
}

absl::StatusOr<SessionInfo*> FakeEngine::Find(const std::string& id) {
  if (!failure_.ok()) return failure_;
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return absl::NotFoundError("no such session");
  return &found->second;
}

void FakeEngine::Wait() {
  std::function<void()> hook;
  {
    MutexLock lock(mutex_);
    hook = on_wait_;
  }
  if (hook) hook();
}

absl::StatusOr<SessionInfo> FakeEngine::CreateSession(const std::string& label, std::optional<Durability> durability) {
  Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  SessionInfo session;
  session.id = absl::StrCat("session-", ++made_);
  session.label = label;
  session.position = 7;
  session.created = session.last_used = std::chrono::system_clock::time_point(std::chrono::milliseconds(1500));
  session.last_finish = FinishReason::kLength;
  session.durability = durability.value_or(options_.durability);
  session.digest = 0x123456789ABCDEF0;
  sessions_[session.id] = session;
  metrics_.sessions = static_cast<int>(sessions_.size());
  return session;
}

absl::StatusOr<SessionInfo> FakeEngine::GetSession(const std::string& id) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(id);
  if (!found.ok()) return found.status();
  return **found;
}

absl::StatusOr<SessionPage> FakeEngine::ListSessions(int page_size, const std::string& page_token) {
  Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  SessionPage page;
  for (const auto& [id, session] : sessions_) {
    if (id <= page_token) continue;
    if (static_cast<int>(page.sessions.size()) == page_size) {
      page.next_page_token = page.sessions.back().id;
      break;
    }
    page.sessions.push_back(session);
  }
  return page;
}

absl::Status FakeEngine::DeleteSession(const std::string& id) {
  Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  if (sessions_.erase(id) == 0) return absl::NotFoundError("no such session");
  metrics_.sessions = static_cast<int>(sessions_.size());
  return absl::OkStatus();
}

absl::StatusOr<SessionInfo> FakeEngine::ForkSession(const std::string& id, const std::string& label,
                                                    std::optional<int64_t> expected_position) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(id);
  if (!found.ok()) return found.status();
  SessionInfo fork = **found;
  if (expected_position.value_or(fork.position) != fork.position) {
    return absl::FailedPreconditionError("expected_position");
  }
  fork.id = "session" + std::to_string(++made_);
  fork.label = label;
  fork.turns = 0;
  sessions_[fork.id] = fork;
  metrics_.sessions = static_cast<int>(sessions_.size());
  return fork;
}

// "any" is the disk.
absl::StatusOr<SessionInfo> FakeEngine::ParkSession(const std::string& id, ParkTarget target) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(id);
  if (!found.ok()) return found.status();
  (*found)->state = target == ParkTarget::kHost ? SessionState::kParkedHost : SessionState::kParkedDisk;
  return **found;
}

absl::StatusOr<SessionInfo> FakeEngine::RewindSession(const RewindRequest& request) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(request.session_id);
  if (!found.ok()) return found.status();
  rewinds_.push_back(request);
  (*found)->turns = request.to_turn.value_or(0);
  return **found;
}

absl::StatusOr<SessionExport> FakeEngine::ExportSession(const std::string& id, bool with_history) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(id);
  if (!found.ok()) return found.status();
  SessionExport session = export_;
  if (with_history) {
    for (const uint8_t byte : Bytes("history")) session.head.push_back(byte);
  }
  return session;
}

absl::StatusOr<std::unique_ptr<SessionImport>> FakeEngine::ImportSession() {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  return std::make_unique<FakeImport>(*this);
}

absl::StatusOr<std::shared_ptr<TokenStream>> FakeEngine::ResumeTurn(const std::string& id, int64_t from_seq) {
  Wait();
  MutexLock lock(mutex_);
  const absl::StatusOr<SessionInfo*> found = Find(id);
  if (!found.ok()) return found.status();
  if (from_seq > 1000) return absl::InvalidArgumentError("from_seq must be at most 1000");
  auto stream = std::make_shared<TokenStream>();
  resumes_.push_back({id, from_seq, stream});
  submitted_.NotifyAll();
  return stream;
}

absl::StatusOr<std::vector<HeadView>> FakeEngine::InspectSession(const std::string& id, std::vector<int> layers,
                                                                 std::vector<int> kv_heads, int64_t* position) {
  Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  if (sessions_.count(id) == 0) return absl::NotFoundError("no such session");
  if (layers.empty()) {
    for (int i = 0; i < options_.num_layers; ++i) layers.push_back(i);
  }
  if (kv_heads.empty()) {
    for (int i = 0; i < options_.num_kv_heads; ++i) kv_heads.push_back(i);
  }
  *position = 9;
  std::vector<HeadView> views;
  for (const int layer : layers) {
    for (const int head : kv_heads) {
      views.push_back({layer, head, {{0, -1, 0.0f, 0.0f}, {5, 0, 0.5f, 0.25f}, {8, 1, 0.75f, 0.0f}}});
    }
  }
  return views;
}

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> FakeEngine::SubmitReplies(TurnRequest request, int n) {
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < n; ++i) {
    auto stream = Submit(request);
    if (!stream.ok()) return stream.status();
    streams.push_back(*std::move(stream));
  }
  return streams;
}

absl::StatusOr<std::shared_ptr<TokenStream>> FakeEngine::Submit(TurnRequest request) {
  if (submit_waits_) Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  auto stream = std::make_shared<TokenStream>();
  turns_.push_back({std::move(request), stream});
  submitted_.NotifyAll();
  return stream;
}

void FakeEngine::StopAdmission() { FailWith(absl::UnavailableError("the server is draining")); }

DrainReport FakeEngine::Drain(SteadyTime) { return {}; }

int FakeEngine::SlotsFree() const {
  MutexLock lock(mutex_);
  return options_.num_slots - static_cast<int>(sessions_.size());
}

std::shared_ptr<kernels::HostMemory> FakeCache(size_t bytes) { return std::make_shared<OwnMemory>(bytes); }

TurnDelta TextDelta(const std::string& text, std::vector<int32_t> ids) {
  TurnDelta delta;
  delta.text = text;
  delta.token_ids = std::move(ids);
  return delta;
}

TurnDelta FinishedDelta(FinishReason reason, absl::Status status) {
  TurnDelta delta;
  delta.finished = true;
  delta.finish_reason = reason;
  delta.status = std::move(status);
  delta.usage.prompt_tokens = 3;
  delta.usage.session_tokens_seen = 8;
  return delta;
}

}  // namespace cascade
