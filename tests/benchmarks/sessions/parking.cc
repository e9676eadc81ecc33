// One session of the model out of its slot and back, beside copies of the same bytes by plain calls in the same run.
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/cache/cache_image.h"
#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/durable_engine.h"
#include "tests/benchmarks/sessions/figures.h"
#include "tests/benchmarks/sessions/plain_files.h"
#include "tests/benchmarks/sessions/real_model.h"
#include "tests/benchmarks/sessions/sections.h"

namespace cascade::bench {
namespace {

constexpr int kWarmUps = 2;

double Seconds(const std::function<void()>& work) {
  const double begin = Now();
  work();
  return Now() - begin;
}

class Parking {
 public:
  Parking(const SessionOptions& options)
      : options_(options),
        scratch_(options),
        model_(OpenRealModel(options, kSlots + 1, 1)),
        bytes_(model_.slot_bytes()),
        host_(OrDie(model_.llama->AllocateHost(bytes_))),
        other_(OrDie(model_.llama->AllocateHost(bytes_))) {
    EngineOptions engine_options = DurableOptions(model_.geometry, kSlots, model_.max_rows);
    engine_options.host_cache_bytes = static_cast<int64_t>(2 * bytes_);
    engine_ = std::make_unique<DurableEngine>(engine_options, *model_.llama, scratch_.Path("data"));
    id_ = NewSession(**engine_, Durability::kJournal);
    ReadTokens(**engine_, id_, model_.geometry.slots());
    // A full slot's bytes for the plain calls: zeros could be stored for less.
    Check(model_.llama->ReadSlot(0, kernels::SlotPart::kAll, host_->bytes())->Wait());
    Check(model_.llama->ReadSlot(1, kernels::SlotPart::kAll, other_->bytes())->Wait());
    if (Zeros(host_->bytes())) std::swap(host_, other_);
    Check(model_.llama->WriteSlot(kSlots, kernels::SlotPart::kAll, host_->bytes())->Wait());
  }

  void Run() {
    PrintTitle(Format("parking: one session of %zu bytes", bytes_));
    Turn();
    std::printf("  the first move to host memory, which is allocated then: %.1f ms\n", 1e3 * Park(ParkTarget::kHost));
    for (int i = -kWarmUps; i < options_.repetitions; ++i) HostRound(i >= 0);
    for (int i = -kWarmUps; i < options_.disk_repetitions; ++i) DiskRound(i >= 0);
    const Samples& out = options_.cuda() ? backend_out_ : memcpy_;
    const Samples& in = options_.cuda() ? backend_in_ : memcpy_;
    const auto bytes = static_cast<double>(bytes_);
    if (!options_.cuda()) PrintTime("limit: memcpy", memcpy_, bytes);
    PrintTime("limit: copy of a slot to host memory, nothing else", backend_out_, bytes);
    PrintTime("limit: copy of host memory to a slot, nothing else", backend_in_, bytes);
    PrintTime("park, slot to host", to_host_, bytes, &out);
    PrintTime("a turn's first token, resident", resident_);
    PrintTime("more when parked in host memory", from_host_, bytes, &in);
    PrintTime("limit: plain write and fdatasync", plain_write_, bytes);
    PrintTime("limit: plain read, cached", plain_read_, bytes);
    PrintTime("limit: plain read, not cached", plain_cold_, bytes);
    PrintTime("plain removal, as of an older image with each new one", plain_remove_);
    PrintTime("sealing an image (SHA-256), nothing else", seal_, bytes);
    PrintTime("park, slot to disk", to_disk_, bytes, &plain_write_);
    PrintTime("park, host to disk", host_to_disk_, bytes, &plain_write_);
    PrintTime("more when parked on disk, cached", from_disk_, bytes, &plain_read_);
    PrintTime("more when parked on disk, not cached", from_cold_, bytes, &plain_cold_);
    bool equal = true;
    for (const int64_t size : FileSizes(scratch_.Path("data"), ".image")) {
      equal = equal && size == static_cast<int64_t>(ImageBytes(bytes_));
    }
    std::printf("  image: %zu bytes in advance; files: %s\n", ImageBytes(bytes_), equal ? "the same" : "NOT THE SAME");
  }

 private:
  static constexpr int kSlots = 2;  // of the engine; the one after them is for plain copies

  static bool Zeros(std::span<const std::byte> bytes) {
    return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  }
  double Turn() { return RunTurn(**engine_, IdsTurn(id_, 1, 2)).first_token; }
  double Park(ParkTarget target) {
    return Seconds([&] { Check((*engine_)->ParkSession(id_, target).status()); });
  }
  static void Add(bool counts, Samples& samples, double value) {
    if (counts) samples.Add(value);
  }

  void HostRound(bool counts) {
    Turn();
    const double resident = Turn();
    Add(counts, resident_, resident);
    Add(counts, to_host_, Park(ParkTarget::kHost));
    Add(counts, from_host_, Turn() - resident);
    // The engine is idle: nobody else uses the model.
    const auto copy = [&](bool out) {
      const auto all = kernels::SlotPart::kAll;
      Check(out ? model_.llama->ReadSlot(kSlots, all, host_->bytes())->Wait()
                : model_.llama->WriteSlot(kSlots, all, host_->bytes())->Wait());
    };
    Add(counts, backend_out_, Seconds([&] { copy(true); }));
    Add(counts, backend_in_, Seconds([&] { copy(false); }));
    Add(counts, memcpy_, Seconds([&] { std::memcpy(other_->bytes().data(), host_->bytes().data(), bytes_); }));
  }

  void DiskRound(bool counts) {
    const double resident = Turn();
    Add(counts, to_disk_, Park(ParkTarget::kDisk));
    Add(counts, from_disk_, Turn() - resident);
    Park(ParkTarget::kHost);
    Add(counts, host_to_disk_, Park(ParkTarget::kDisk));
    ForgetCached(scratch_.Path("data"), ".image");
    Add(counts, from_cold_, Turn() - resident);

    const std::string plain = scratch_.Path("plain");
    Add(counts, plain_remove_, Seconds([&] { std::remove(plain.c_str()); }));
    Add(counts, plain_write_, WritePlainFile(plain, host_->bytes()));
    Add(counts, plain_read_, ReadPlainFile(plain, other_->bytes()));
    ForgetCached(scratch_.Path(""), "");
    Add(counts, plain_cold_, ReadPlainFile(plain, other_->bytes()));
    const ImageHeader header{.cache_bytes = bytes_};
    Add(counts, seal_, Seconds([&] { SealImage(header, host_->bytes(), sealer_, kImageHashThreads); }));
  }

  const SessionOptions& options_;
  ScratchFolder scratch_;
  RealModel model_;
  const size_t bytes_;
  std::unique_ptr<kernels::HostMemory> host_, other_;
  const Sealer sealer_{SealKey()};
  std::unique_ptr<DurableEngine> engine_;
  std::string id_;
  Samples memcpy_, backend_out_, backend_in_, resident_, to_host_, from_host_;
  Samples plain_write_, plain_read_, plain_cold_, plain_remove_, seal_, to_disk_, from_disk_, host_to_disk_, from_cold_;
};

}  // namespace

void MeasureParking(const SessionOptions& options) { Parking(options).Run(); }

}  // namespace cascade::bench
