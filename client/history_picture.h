// Draws which parts of a session's history its cache still holds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cascade::client {

// One bar for the sinks, one for each sub-cache, one for the open stride and one for all together, along the session's
// life from the first token to the last. A column stands for some consecutive tokens; its height is the share of them
// that is held, averaged over the heads added. Pure text: no terminal, no server.
class HistoryPicture {
 public:
  struct Options {
    // At most so many columns, at least 1; fewer when there are fewer tokens.
    int columns = 80;
    // The picture begins at this token: [0, position).
    int64_t first_token = 0;
    // Only 7-bit characters.
    bool ascii = false;
    // With terminal colours.
    bool colour = false;
  };

  // `position`: tokens of the session's life. `num_sub_caches` >= 1.
  HistoryPicture(int64_t position, int num_sub_caches, Options options);

  // What one head of one layer holds, as InspectSession reports it: parallel arrays; sub_caches[i] is -1 for sinks,
  // num_sub_caches for the open stride. Entries that fit neither the session nor its sub-caches are left out.
  void AddHead(std::span<const int64_t> token_indices, std::span<const int32_t> sub_caches);

  // The bars and their key, then a table with span, tokens held and share of the span held for each part. Without
  // heads, or for an empty session, one line that says so.
  std::string Draw() const;

  // The oldest token held that is no sink; position when there is none. For a picture that begins there.
  int64_t OldestHeld() const;

 private:
  // A line of the picture: sinks, a sub-cache or the open stride.
  struct Part {
    std::string name;
    std::vector<int64_t> held_in_column{};  // summed over heads
    int64_t held = 0;                       // likewise
    int64_t first = -1, last = -1;          // tokens; -1: holds nothing
  };

  int64_t ColumnOf(int64_t token) const;
  int64_t ColumnWidth(int column) const;
  // Of a column, in eighths: 0 nothing, 8 everything.
  int Level(int64_t held, int column) const;
  std::string Bar(const Part& part, bool is_sinks) const;
  std::string BarOfAll() const;
  std::string Cell(int level, bool is_sinks) const;
  std::string Painted(const std::string& text, const char* colour) const;
  std::string Key() const;
  std::string Legend() const;

  const int64_t position_;
  const int num_sub_caches_;
  Options options_;
  int64_t heads_ = 0;
  // Sinks, sub-caches N-1 .. 0, open stride: chronological.
  std::vector<Part> parts_;
};

}  // namespace cascade::client
