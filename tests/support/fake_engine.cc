#include "tests/support/fake_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {

FakeEngine::FakeEngine(EngineOptions options) : options_(std::move(options)) {}

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

void FakeEngine::Wait() {
  std::function<void()> hook;
  {
    MutexLock lock(mutex_);
    hook = on_wait_;
  }
  if (hook) hook();
}

absl::StatusOr<SessionInfo> FakeEngine::CreateSession(const std::string& label) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  SessionInfo session;
  session.id = absl::StrCat("session-", ++made_);
  session.label = label;
  session.position = 7;
  session.created = session.last_used = std::chrono::system_clock::time_point(std::chrono::milliseconds(1500));
  session.last_finish = FinishReason::kLength;
  sessions_[session.id] = session;
  return session;
}

absl::StatusOr<SessionInfo> FakeEngine::GetSession(const std::string& id) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return absl::NotFoundError("no such session");
  return found->second;
}

absl::StatusOr<SessionPage> FakeEngine::ListSessions(int page_size, const std::string& page_token) {
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
  return sessions_.erase(id) == 1 ? absl::OkStatus() : absl::NotFoundError("no such session");
}

absl::StatusOr<SessionInfo> FakeEngine::ForkSession(const std::string& id, const std::string& label,
                                                    std::optional<int64_t> expected_position) {
  Wait();
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  const auto origin = sessions_.find(id);
  if (origin == sessions_.end()) return absl::NotFoundError("no such session");
  if (expected_position.value_or(origin->second.position) != origin->second.position) {
    return absl::FailedPreconditionError("expected_position");
  }
  SessionInfo fork = origin->second;
  fork.id = "session" + std::to_string(++made_);
  fork.label = label;
  fork.turns = 0;
  return sessions_[fork.id] = fork;
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

absl::StatusOr<std::shared_ptr<TokenStream>> FakeEngine::Submit(TurnRequest request) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  auto stream = std::make_shared<TokenStream>();
  turns_.push_back({std::move(request), stream});
  submitted_.NotifyAll();
  return stream;
}

void FakeEngine::StopAdmission() { FailWith(absl::UnavailableError("the server is draining")); }

void FakeEngine::Drain(SteadyTime) {}

int FakeEngine::SlotsFree() const {
  MutexLock lock(mutex_);
  return options_.num_slots - static_cast<int>(sessions_.size());
}

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
