#include "engine/model/gguf_parts.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf_fields.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr char kNumber[] = "split.no";
constexpr char kCount[] = "split.count";
constexpr char kTensorCount[] = "split.tensors.count";
// Far above any model (the largest published ones have about 200), and every one of them must exist as a file.
constexpr int64_t kMaxParts = 1024;
constexpr int64_t kMaxTensors = int64_t{1} << 40;

// "-00002-of-00003.gguf" for number 1.
std::string Suffix(int64_t number, int64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return text;
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

struct ParsedPart {
  GgufPart part;
  GgufFile gguf;
};

absl::StatusOr<ParsedPart> OpenPart(FileSystem& files, const std::string& path) {
  absl::StatusOr<std::unique_ptr<MappedFile>> file = files.Map(path);
  if (!file.ok()) return file.status();
  ParsedPart parsed{{path, *std::move(file)}, {}};
  absl::StatusOr<GgufFile> gguf = ParseGguf(parsed.part.file->bytes(), path);
  if (!gguf.ok()) return gguf.status();
  parsed.gguf = *std::move(gguf);
  return parsed;
}

// What a part says of itself.
struct SplitKeys {
  int64_t number = 0;
  int64_t count = 1;
  int64_t tensors = 0;
};

absl::StatusOr<SplitKeys> ReadSplitKeys(const ParsedPart& parsed) {
  GgufFields fields(parsed.gguf, parsed.part.path);
  SplitKeys keys;
  keys.count = fields.Integer(kCount, 0, kMaxParts, 1);
  if (keys.count <= 1) {
    keys.count = 1;
    if (const int64_t number = fields.Integer(kNumber, 0, kMaxParts, 0); number != 0) {
      fields.Fail(kNumber, "found ", number, " of one part, expected 0");
    }
  } else {
    keys.number = fields.Integer(kNumber, 0, keys.count - 1);
    keys.tensors = fields.Integer(kTensorCount, 1, kMaxTensors);
  }
  if (!fields.status().ok()) return fields.status();
  return keys;
}

// Whether a part says of itself what the part that was opened first, `first`, makes of it.
absl::Status CheckPart(const ParsedPart& parsed, int64_t number, const SplitKeys& first,
                       const std::string& first_path) {
  GgufFields fields(parsed.gguf, parsed.part.path);
  if (fields.Find(kCount, true) == nullptr) return fields.status();
  const absl::StatusOr<SplitKeys> keys = ReadSplitKeys(parsed);
  if (!keys.ok()) return keys.status();
  if (keys->count != first.count) {
    fields.Fail(kCount, "found ", keys->count, ", expected ", first.count, " as in ", first_path);
  }
  if (keys->number != number) {
    fields.Fail(kNumber, "found ", keys->number, ", expected ", number, " by the file's name");
  }
  if (keys->tensors != first.tensors) {
    fields.Fail(kTensorCount, "found ", keys->tensors, ", expected ", first.tensors, " as in ", first_path);
  }
  return fields.status();
}

// The model's keys are in the first part. A key that another part repeats must say the same there; one that only
// another part has would be overlooked.
absl::Status CheckKeys(const GgufFile& first, const ParsedPart& parsed) {
  for (const auto& [key, value] : parsed.gguf.values) {
    if (key == kNumber || key == kCount || key == kTensorCount || key == "general.alignment") continue;
    const GgufValue* known = first.FindValue(key);
    if (known != nullptr && known->type == value.type && known->is_array == value.is_array &&
        std::ranges::equal(known->bytes, value.bytes)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(parsed.part.path, ": key ", Quoted(key), ": ",
                                                   known == nullptr ? "not in" : "other than in",
                                                   " the first part, which has the model's keys"));
  }
  return absl::OkStatus();
}

// Moves a part's file and tensors to `all`.
absl::Status Add(ParsedPart parsed, GgufParts& all) {
  for (const std::string_view name : parsed.gguf.tensor_names) {
    const auto [it, added] = all.whole.tensors.emplace(name, parsed.gguf.tensors.at(name));
    if (!added) {
      return absl::InvalidArgumentError(absl::StrCat(parsed.part.path, ": tensor ", Quoted(name), ": is also in ",
                                                     all.PartOf(it->second.bytes).path));
    }
    all.whole.tensor_names.push_back(name);
  }
  all.parts.push_back(std::move(parsed.part));
  return absl::OkStatus();
}

}  // namespace

const GgufPart& GgufParts::PartOf(std::span<const uint8_t> bytes) const {
  const auto part = std::find_if(parts.begin(), parts.end(), [&](const GgufPart& candidate) {
    const std::span<const uint8_t> all = candidate.file->bytes();
    return bytes.data() >= all.data() && bytes.data() < all.data() + all.size();
  });
  CASCADE_CHECK(part != parts.end());
  return *part;
}

absl::StatusOr<GgufParts> OpenGgufParts(FileSystem& files, const std::string& path) {
  absl::StatusOr<ParsedPart> opened = OpenPart(files, path);
  if (!opened.ok()) return opened.status();
  const absl::StatusOr<SplitKeys> keys = ReadSplitKeys(*opened);
  if (!keys.ok()) return keys.status();
  GgufParts all;
  if (keys->count == 1) {
    all.whole = std::move(opened->gguf);
    all.parts.push_back(std::move(opened->part));
    return all;
  }
  const std::string suffix = Suffix(keys->number, keys->count);
  if (!EndsWith(path, suffix)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": part ", keys->number + 1, " of ", keys->count,
                                                   " of a split model by its keys, expected a name that ends in '",
                                                   suffix, "', by which the other parts are found"));
  }
  const std::string base = path.substr(0, path.size() - suffix.size());
  for (int64_t i = 0; i < keys->count; ++i) {
    absl::StatusOr<ParsedPart> part =
        i == keys->number ? std::move(opened) : OpenPart(files, base + Suffix(i, keys->count));
    if (!part.ok()) {
      return absl::Status(part.status().code(), absl::StrCat(part.status().message(), " (part ", i + 1, " of ",
                                                             keys->count, " of a split model)"));
    }
    if (absl::Status status = CheckPart(*part, i, *keys, path); !status.ok()) return status;
    if (i == 0) {
      all.whole.version = part->gguf.version;
      all.whole.values = part->gguf.values;
    } else if (absl::Status status = CheckKeys(all.whole, *part); !status.ok()) {
      return status;
    }
    if (absl::Status status = Add(*std::move(part), all); !status.ok()) return status;
  }
  if (static_cast<int64_t>(all.whole.tensors.size()) != keys->tensors) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": key ", Quoted(kTensorCount), ": found ", keys->tensors,
                                                   ", but the ", keys->count, " parts have ", all.whole.tensors.size(),
                                                   " tensors"));
  }
  return all;
}

}  // namespace cascade
