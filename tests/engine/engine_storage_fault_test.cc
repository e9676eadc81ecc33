// Every file operation of everything that an engine does with its data folder fails, in every way that it can, once
// and from then on. storage_fault_fixture.h says what must hold then.
#include <unistd.h>

#include <atomic>

#include "tests/engine/storage_fault_fixture.h"

namespace cascade {
namespace {

using test::FaultyChat;

class EngineStorageFaultTest : public test::StorageFaultTest {
 protected:
  // Sessions' caches in their slots, so that what follows reads no files.
  void Warm() {
    for (FaultyChat* chat : {&main(), &other(), &plain()}) ASSERT_TRUE(Turn(*chat, 3, 2).ok());
  }
};

TEST_F(EngineStorageFaultTest, Create) {
  TryEveryFault({"create", 180, [&] {
                   Create();
                   Create();
                 }});
}

TEST_F(EngineStorageFaultTest, Turn) {
  TryEveryFault({"turn", 120,
                 [&] {
                   for (int turn = 0; turn < 3; ++turn) Turn(main(), 5, 2).IgnoreError();
                 },
                 [&] { Warm(); }});
}

TEST_F(EngineStorageFaultTest, TurnWithAnImage) {
  TryEveryFault({"turn with an image", 230,
                 [&] {
                   for (int turn = 0; turn < 2; ++turn) Turn(main(), 5, 2, Durability::kImage).IgnoreError();
                 },
                 [&] { Warm(); }});
}

TEST_F(EngineStorageFaultTest, ImageAfterATurn) {
  TryEveryFault({"image after a turn", 80,
                 [&] {
                   // The last step of it makes an image due.
                   if (Turn(main(), 1, 1).ok()) {
                     while (Images() == 0) usleep(100);
                   }
                 },
                 [&] { ASSERT_TRUE(Turn(main(), PromptUntil(main(), main_image() + image_interval() - 2), 1).ok()); }});
}

TEST_F(EngineStorageFaultTest, ImageWithinATurn) {
  // Steps wait for it, so that the order of the operations is the same in all runs.
  std::atomic<bool> waits = false;
  on_step_ = [&](const ForwardBatch& batch) {
    if (!waits.load() ||
        batch.slices[0].first_token < main_image() + image_interval() + engine_options_.geometry.stride)
      return;
    while (Images() == 0) usleep(100);
  };
  TryEveryFault({"image within a turn", 230, [&] {
                   waits = true;
                   const bool saved = Turn(main(), static_cast<int>(image_interval()) + 40, 2).ok();
                   waits = false;
                   if (saved && engine_->metrics().images_written.load() == 0) {
                     while (Images() < 2) usleep(100);  // it is tried again when the turn has ended
                   }
                 }});
}

TEST_F(EngineStorageFaultTest, ParkToDisk) {
  TryEveryFault({"park", 130,
                 [&] {
                   Park(main());
                   Park(plain());
                 },
                 [&] { Warm(); }});
}

TEST_F(EngineStorageFaultTest, RestoreOnTheNextTurn) {
  TryEveryFault({"restore", 120, [&] { Turn(main(), 5, 2).IgnoreError(); }});
}

TEST_F(EngineStorageFaultTest, ReplayWithoutAnImage) {
  TryEveryFault({"replay", 100, [&] { Turn(plain(), 5, 2).IgnoreError(); }});
}

TEST_F(EngineStorageFaultTest, MakeRoomForATurn) {
  engine_options_.num_slots = 1;
  TryEveryFault({"make room", 420,
                 [&] {
                   Turn(plain(), 5, 2).IgnoreError();
                   Turn(main(), 5, 2).IgnoreError();
                 },
                 [&] { ASSERT_TRUE(Turn(main(), 5, 2).ok()); }});
}

TEST_F(EngineStorageFaultTest, Retention) {
  options_.retain_all = false;
  TryEveryFault({"retention", 700,
                 [&] {
                   for (int turn = 0; turn < 3; ++turn) Turn(main(), 5, 2, Durability::kImage).IgnoreError();
                   const SessionFiles files = FilesOf(*SessionKeyFromHex(main().id));
                   EXPECT_TRUE(faulted() || !files.segments.contains(0)) << "nothing was removed";
                   EXPECT_TRUE(faulted() || files.images.size() <= 4);
                 },
                 [&] { Warm(); }});
}

TEST_F(EngineStorageFaultTest, Fork) {
  TryEveryFault({"fork", 410, [&] {
                   Fork(main());
                   Turn(main(), 5, 2).IgnoreError();
                   if (chats_.size() > 3) Turn(chats_[3], 5, 2).IgnoreError();
                 }});
}

TEST_F(EngineStorageFaultTest, Rewind) {
  TryEveryFault({"rewind", 770, [&] {
                   Turn(main(), 5, 2).IgnoreError();
                   Rewind(main(), 1);
                   Turn(main(), 5, 2).IgnoreError();
                   Rewind(main(), 3);  // to before the image
                   Turn(main(), 5, 2).IgnoreError();
                 }});
}

TEST_F(EngineStorageFaultTest, ExportAndImport) {
  TryEveryFault({"export and import", 730, [&] {
                   Move(main());
                   Move(plain());
                   for (size_t i = 3; i < chats_.size(); ++i) Turn(chats_[i], 5, 2).IgnoreError();
                 }});
}

TEST_F(EngineStorageFaultTest, Delete) {
  TryEveryFault({"delete", 200,
                 [&] {
                   Delete(main());
                   Delete(plain());
                 },
                 [&] { ASSERT_TRUE(Turn(main(), 5, 2).ok()); }});
}

TEST_F(EngineStorageFaultTest, Expiry) {
  engine_options_.session_ttl = std::chrono::hours(1);
  TryEveryFault({"expiry", 330,
                 [&] {
                   clock_->Advance(std::chrono::minutes(40));
                   (void)engine_->ListSessions(10, "");
                   main().gone = plain().gone = true;  // whether their files could be removed or not
                   for (FaultyChat* chat : {&main(), &plain()}) {
                     while (!engine_->SubmitWaits(chat->id)) usleep(100);  // as long as they are being removed
                   }
                 },
                 [&] {
                   clock_->Advance(std::chrono::minutes(40));
                   ASSERT_TRUE(Turn(other(), 5, 2).ok());
                 }});
}

TEST_F(EngineStorageFaultTest, RecoveryAtTheStart) {
  TryEveryFault({.name = "recovery",
                 .min_faults = 310,
                 .run =
                     [&] {
                       const absl::Status status = Open();
                       if (!status.ok()) {
                         EXPECT_FALSE(status.message().empty());
                         EXPECT_FALSE(absl::IsNotFound(status)) << status;
                         return Close();
                       }
                       (void)engine_->ListSessions(10, "");  // reads them
                       Turn(main(), 5, 2).IgnoreError();
                     },
                 .prepare = [] {},
                 .starts = true,
                 .reads_all = true});
}

TEST_F(EngineStorageFaultTest, Drain) {
  TryEveryFault({"drain", 230, [&] { Drain(); }, [&] { Warm(); }});
}

}  // namespace
}  // namespace cascade
