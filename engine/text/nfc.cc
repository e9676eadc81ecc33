#include "engine/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

// No character below is changed by NFC, and none combines with what stands before it.
constexpr char32_t kFirstCombining = 0x300;

absl::Status Failure(utf8proc_ssize_t code) {
  return absl::ResourceExhaustedError(absl::StrCat("text cannot be normalized: ", utf8proc_errmsg(code)));
}

absl::Status Decompose(char32_t character, std::vector<utf8proc_int32_t>* points) {
  utf8proc_int32_t parts[32];  // the longest canonical decomposition has four
  int boundary = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(character), parts,
                                                         std::size(parts), UTF8PROC_DECOMPOSE, &boundary);
  if (count < 0 || count > static_cast<utf8proc_ssize_t>(std::size(parts))) return Failure(count);
  points->insert(points->end(), parts, parts + count);
  return absl::OkStatus();
}

// Combining marks in the order of their classes. The library's own ordering exchanges neighbours: a megabyte of marks
// would take it a minute.
void OrderMarks(std::vector<utf8proc_int32_t>* points) {
  const auto order = [](utf8proc_int32_t point) { return utf8proc_get_property(point)->combining_class; };
  for (auto begin = points->begin(); begin != points->end();) {
    if (order(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, points->end(), [&](utf8proc_int32_t point) { return order(point) == 0; });
    std::stable_sort(begin, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return order(a) < order(b); });
    begin = end;
  }
}

}  // namespace

absl::StatusOr<std::string> ToNfc(std::string_view text, bool* changed) {
  *changed = false;
  std::string out;
  std::vector<utf8proc_int32_t> points;
  size_t copied = 0;
  size_t last = 0;  // begin of the character before `pos`
  for (size_t pos = 0; pos < text.size();) {
    if (static_cast<uint8_t>(text[pos]) < 0x80) {
      last = pos++;
      continue;
    }
    size_t next = pos;
    char32_t character = NextCodePoint(text, &next);
    if (character < kFirstCombining) {
      last = pos;
      pos = next;
      continue;
    }
    // From the character before on (it may be what is combined with) to the next that combines with nothing before it.
    *changed = true;
    out.append(text.substr(copied, last - copied));
    points.clear();
    for (pos = last; pos < text.size(); pos = next) {
      next = pos;
      character = NextCodePoint(text, &next);
      if (character < kFirstCombining && pos != last) break;
      if (absl::Status status = Decompose(character, &points); !status.ok()) return status;
    }
    OrderMarks(&points);
    const utf8proc_ssize_t count =
        utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (count < 0) return Failure(count);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      utf8proc_uint8_t bytes[4];
      const utf8proc_ssize_t length = utf8proc_encode_char(points[static_cast<size_t>(i)], bytes);
      out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
    }
    copied = last = pos;
  }
  if (*changed) out.append(text.substr(copied));
  return out;
}

}  // namespace cascade
