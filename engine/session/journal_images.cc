// Images of a session's cache, and what of its files is not needed any more.
#include <algorithm>
#include <limits>
#include <utility>

#include "engine/cache/cache_image.h"
#include "engine/session/journal.h"

namespace cascade {
namespace {

constexpr size_t kNewestImages = 2;

std::span<const uint8_t> Bytes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

std::span<uint8_t> Bytes(std::span<std::byte> bytes) {
  return {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace

absl::Status Journal::WriteFile(const std::string& name, std::span<const uint8_t> head, std::span<const uint8_t> body) {
  Directory& directory = context_.directory;
  const std::string temporary = TemporaryName();
  absl::Status status;
  {
    auto file = directory.Create(temporary);
    if (!file.ok()) return file.status();
    status = (*file)->Append(head);
    if (status.ok()) status = (*file)->Append(body);
    if (status.ok()) status = (*file)->Sync();
  }
  if (status.ok()) status = directory.Rename(temporary, name);
  if (!status.ok()) {
    directory.Remove(temporary).IgnoreError();
    return status;
  }
  return directory.Sync();
}

absl::Status Journal::WriteImage(int64_t tokens_seen, uint64_t digest, std::span<const std::byte> cache) {
  MutexLock writing(writing_);
  if (removed_) return absl::AbortedError("the session is gone");
  ImageHeader header;
  header.model = context_.model;
  header.geometry = context_.geometry;
  header.session = session_;
  header.tokens_seen = tokens_seen;
  header.digest = digest;
  header.cache_bytes = cache.size();
  int64_t removals;
  {
    MutexLock lock(mutex_);
    header.generation = segments_.empty() ? 0 : segments_.back().sequence;
    removals = image_removals_;
  }
  const std::vector<uint8_t> head = SealImage(header, cache, context_.sealer, kImageHashThreads);
  if (absl::Status status = WriteFile(ImageName(session_, tokens_seen), head, Bytes(cache)); !status.ok()) {
    return status;
  }
  bool useless;
  {
    MutexLock lock(mutex_);
    useless = image_removals_ != removals;
    useless_images_.erase(tokens_seen);
    if (!useless) images_.insert(tokens_seen);
  }
  if (useless) {
    RemoveImageFiles({tokens_seen}).IgnoreError();
    return absl::AbortedError("the session went back while its image was written");
  }
  // What could not be removed is in nobody's way.
  Prune().IgnoreError();
  return absl::OkStatus();
}

absl::Status Journal::LoadImage(int64_t tokens_seen, uint64_t digest, std::span<std::byte> cache) const {
  const auto file = context_.directory.OpenRead(ImageName(session_, tokens_seen));
  if (!file.ok()) return file.status();
  const auto file_bytes = static_cast<uint64_t>((*file)->size());
  std::vector<uint8_t> head(std::min<uint64_t>(file_bytes, ImageHeaderBytes(cache.size())));
  if (absl::Status status = (*file)->Read(0, head); !status.ok()) return status;
  const absl::StatusOr<ImageHeader> header = ReadImageHeader(head, file_bytes, context_.sealer);
  if (!header.ok()) return header.status();
  if (absl::Status status = CheckImageFits(*header, context_.model, context_.geometry); !status.ok()) return status;
  const absl::StatusOr<SealedImage> image = OpenImage(head, file_bytes, context_.sealer);
  if (!image.ok()) return image.status();
  if (header->cache_bytes != cache.size()) return absl::FailedPreconditionError("the image is of another cache size");
  if (header->tokens_seen != tokens_seen || header->digest != digest) {
    return absl::DataLossError("the image is of other tokens");
  }
  if (absl::Status status = (*file)->Read(static_cast<int64_t>(head.size()), Bytes(cache)); !status.ok()) return status;
  return CheckSections(*image, cache, kImageHashThreads);
}

std::optional<int64_t> Journal::ImageBefore(int64_t tokens_seen) {
  MutexLock lock(mutex_);
  for (auto image = images_.upper_bound(tokens_seen); image != images_.begin();) {
    if (!useless_images_.contains(*--image)) return *image;
  }
  return std::nullopt;
}

std::vector<int64_t> Journal::ForgetImages(const std::vector<int64_t>& images) {
  for (const int64_t image : images) {
    images_.erase(image);
    useless_images_.erase(image);
  }
  return images;
}

absl::Status Journal::RemoveImageFiles(const std::vector<int64_t>& images) {
  absl::Status status;
  for (const int64_t image : images) {
    if (absl::Status removed = context_.directory.Remove(ImageName(session_, image)); !removed.ok()) status = removed;
  }
  return status;
}

absl::Status Journal::RemoveImagesAfter(int64_t tokens_seen) {
  std::vector<int64_t> images;
  {
    MutexLock lock(mutex_);
    ++image_removals_;
    images = ForgetImages({images_.upper_bound(tokens_seen), images_.end()});
  }
  return RemoveImageFiles(images);
}

std::vector<int64_t> Journal::UnneededImages() {
  std::set<int64_t> keep;
  const auto keep_newest = [&](int64_t from, int64_t below, size_t count) CASCADE_REQUIRES(mutex_) {
    for (auto image = images_.lower_bound(below); count > 0 && image != images_.begin();) {
      if (*--image < from) break;
      if (useless_images_.contains(*image)) continue;
      keep.insert(*image);
      --count;
    }
  };
  // A cache that a session goes on from has not seen its last token.
  keep_newest(0, position_, kNewestImages);
  keep_newest(position_, std::numeric_limits<int64_t>::max(), kNewestImages);  // of a turn that runs
  // So that the last turns can be taken back at constant cost.
  for (const int64_t start : turn_starts_) {
    keep_newest(0, start, 1);
    keep_newest(start, start + 1, 1);
  }
  std::vector<int64_t> unneeded;
  for (const int64_t image : images_) {
    if (!keep.contains(image)) unneeded.push_back(image);
  }
  return unneeded;
}

absl::Status Journal::Prune() {
  // Another server may need what is of no use here.
  if (const std::optional<uint64_t> newest = Newest(); newest.has_value()) {
    const absl::StatusOr<bool> taken = context_.directory.Exists(SegmentName(session_, *newest + 1));
    if (!taken.ok() || *taken) return taken.status();
  }
  std::vector<int64_t> unneeded_images;
  {
    MutexLock lock(mutex_);
    unneeded_images = ForgetImages(UnneededImages());
  }
  absl::Status status = RemoveImageFiles(unneeded_images);
  MutexLock lock(mutex_);
  if (context_.retain_all || images_.empty()) return status;
  rotate_ = true;
  // The session may have to begin at the oldest image, if that leads to all places that it may have to go to; then it
  // needs the newest segment that begins before that, and what follows.
  const int64_t oldest_image = *images_.begin();
  if (oldest_image >= (turn_starts_.empty() ? position_ : turn_starts_.front())) return status;
  const auto first_needed = std::find_if(segments_.rbegin(), segments_.rend(),
                                         [&](const Segment& segment) { return segment.position <= oldest_image; });
  for (auto unneeded = segments_.rend() - first_needed - 1; unneeded > 0; --unneeded) {
    absl::Status removed = context_.directory.Remove(SegmentName(session_, segments_.front().sequence));
    if (!removed.ok()) return removed;
    segments_.erase(segments_.begin());
    CountBytes();
  }
  return status;
}

}  // namespace cascade
