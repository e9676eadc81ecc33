// Whether an image's size is the number that is known in advance, whatever a session has seen.
#include <cstdio>
#include <cstdlib>

#include "engine/cache/cache_image.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/durable_engine.h"
#include "tests/benchmarks/sessions/figures.h"
#include "tests/benchmarks/sessions/plain_files.h"
#include "tests/benchmarks/sessions/sections.h"
#include "tests/benchmarks/sessions/storage_model.h"

namespace cascade::bench {

void MeasureImageBytes(const SessionOptions& options, const SlotSizes& sizes) {
  ScratchFolder scratch(options);
  StorageModel model({.num_slots = 2, .slot_bytes = sizes.slot_bytes, .score_bytes = sizes.score_bytes});
  DurableEngine engine(DurableOptions(sizes.geometry, 2, 256), model, scratch.Path("data"));
  const std::string id = NewSession(*engine, Durability::kJournal);
  PrintTitle("image bytes, without arithmetic");
  const auto expected = static_cast<int64_t>(ImageBytes(sizes.slot_bytes));
  int64_t seen = 0;
  bool equal = true;
  for (const int64_t tokens : {int64_t{1000}, options.tokens}) {
    ReadTokens(*engine, id, tokens - seen);
    seen = OrDie(engine->ParkSession(id, ParkTarget::kDisk)).position;
    for (const int64_t bytes : FileSizes(scratch.Path("data"), ".image")) {
      equal = equal && bytes == expected;
      std::printf("  %9ld tokens seen: %ld bytes in advance, %ld on the disk\n", static_cast<long>(seen),
                  static_cast<long>(expected), static_cast<long>(bytes));
    }
  }
  std::printf("  journal: %ld bytes\n", static_cast<long>(OrDie(engine->GetSession(id)).journal_bytes));
  if (!equal) {
    std::printf("  NOT EQUAL\n");
    std::exit(1);
  }
}

}  // namespace cascade::bench
