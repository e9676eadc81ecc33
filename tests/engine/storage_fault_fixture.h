// An engine over the fake model on a disk that fails, what its clients know of their sessions, and what must hold
// afterwards (the four invariants: alive; nothing acknowledged is lost; nobody else notices; nothing is leaked).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/engine/engine_test_util.h"
#include "tests/engine/session/vault_test_util.h"
#include "tests/support/faulty_directory.h"

namespace cascade::test {

// How long the disk is broken from an operation on.
enum class Broken : uint8_t {
  kOnce,       // for that one
  kForAWhile,  // until the scenario is over; then the engine goes on
  kToTheEnd    // until the process ends
};

// A session as its client knows it.
struct FaultyChat {
  std::string id;
  std::vector<int32_t> ids;                 // acknowledged
  std::vector<size_t> turns;                // tokens at each one's begin
  std::vector<std::vector<int32_t>> maybe;  // of calls that failed: what may be on the disk instead, wholly
  bool gone = false;                        // it was deleted or has expired
  bool may_be_gone = false;                 // that failed
};

class StorageFaultTest : public VaultTest {
 protected:
  struct Scenario {
    const char* name;
    int min_faults;
    std::function<void()> run;
    std::function<void()> prepare = [] {};  // before the faults begin
    bool starts = false;                    // `run` begins with Open
    bool reads_all = false;                 // it reads the other sessions too, so a fault of reading may hit them
  };

  StorageFaultTest();
  ~StorageFaultTest() override;
  static void TearDownTestSuite();

  // Runs it without a fault, and then with each fault at each of its file operations, in each of the ways of Broken.
  void TryEveryFault(const Scenario& scenario);

  // What scenarios are made of. Each keeps what its client knows up to date; all may fail.
  absl::Status Open();  // a server, with the folder as it is
  void Close();
  // A greedy turn, whose tokens must be those of a one-shot turn with all of the session's ids.
  absl::Status Turn(FaultyChat& chat, int prompt, int reply, std::optional<Durability> durability = std::nullopt);
  void Create();
  void Fork(FaultyChat& origin);
  void Rewind(FaultyChat& chat, int64_t take_back);
  void Move(FaultyChat& origin);  // exports it, and imports that
  void Delete(FaultyChat& chat);
  void Park(FaultyChat& chat) { engine_->ParkSession(chat.id, ParkTarget::kDisk).IgnoreError(); }
  void Drain();
  int64_t Images() const;  // written, or failed
  // Of `chat`, what a turn of one token must read so that the cache has seen `tokens` then.
  static int PromptUntil(const FaultyChat& chat, int64_t tokens) {
    return static_cast<int>(tokens - static_cast<int64_t>(chat.ids.size()));
  }
  int64_t image_interval() const;
  bool faulted() const { return faulty_->faults_fired() > 0; }

  // With an image and turns after it; with an image, and nothing is done to it; without an image.
  FaultyChat& main() { return chats_[0]; }
  FaultyChat& other() { return chats_[1]; }
  FaultyChat& plain() { return chats_[2]; }
  int64_t main_image() const { return main_image_; }  // the tokens that it has seen

  EngineOptions engine_options_;
  std::function<void(const ForwardBatch&)> on_step_;
  std::unique_ptr<FakeClock> clock_;
  std::unique_ptr<FaultyDirectory> faulty_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<Engine> engine_;
  std::deque<FaultyChat> chats_;

 private:
  struct Level {
    size_t descriptors = 0, threads = 0;
    bool operator==(const Level&) const = default;
  };
  static Level MeasureLevel();

  void PrepareFolder();
  void Begin(const Scenario& scenario);
  void Repair();  // a disk without faults
  // Tokens that follow `ids`.
  const std::vector<int32_t>& Expected(const std::vector<int32_t>& ids, int count);
  std::vector<int32_t> Ids(int count);
  void Added(const absl::StatusOr<SessionInfo>& made, const std::vector<int32_t>& ids, size_t turns);
  void GoOn(const Scenario& scenario, Broken broken);
  void ExpectAllThere(Broken broken);
  void ExpectOnlyLivingFiles(const std::vector<SessionInfo>& living);
  void ExpectAlike(const SessionInfo& session, Broken broken);

  ByteTokenizer tokenizer_;
  FakeClock reference_clock_;
  std::unique_ptr<FakeModel> reference_model_;
  std::unique_ptr<Engine> reference_;
  std::map<std::pair<std::vector<int32_t>, int>, std::vector<int32_t>> expected_;
  Folder folder_;
  std::deque<FaultyChat> saved_;
  int64_t main_image_ = 0;
  std::vector<std::vector<int32_t>> strays_;  // sessions whose making failed: they may be there, wholly
  bool draining_ = false;
  Level level_;

  struct Counts {
    int64_t scenarios = 0, operations = 0, runs = 0, faults = 0, turns = 0, failed = 0, restarts = 0;
  };
  Counts counts_;
  static Counts all_;
};

}  // namespace cascade::test
