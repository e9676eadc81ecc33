#include "engine/model/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/byte_reader.h"
#include "engine/model/gguf.h"
#include "nlohmann/json.hpp"

namespace cascade {
namespace {

using kernels::DType;
using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDims = 8;
constexpr char kMetadata[] = "__metadata__";

// Builds the directory while the parser walks through the header, so that a header that is something else ends at its
// first wrong token and costs nothing.
class HeaderReader {
 public:
  HeaderReader(std::span<const uint8_t> data, const std::string& name) : data_(data), name_(name) {}

  const absl::Status& status() const { return status_; }
  SafetensorsFile& tensors() { return tensors_; }

  bool null() { return Unexpected("null"); }
  bool boolean(bool) { return Unexpected("a boolean"); }
  bool number_integer(Json::number_integer_t) { return Unexpected("a negative number"); }
  bool number_float(Json::number_float_t, const std::string&) { return Unexpected("a number that is no integer"); }
  bool binary(Json::binary_t&) { return Unexpected("bytes"); }
  bool number_unsigned(Json::number_unsigned_t value) {
    if (place_ == Place::kShape) {
      if (shape_.size() == kMaxDims) return Fail("field 'shape': found more than ", kMaxDims, " sizes");
      if (value > static_cast<uint64_t>(INT64_MAX)) return Fail("field 'shape': found ", value, ", expected less");
      shape_.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ != Place::kOffsets) return Unexpected("a number");
    if (num_offsets_ == 2) return Fail("field 'data_offsets': found more than two numbers");
    offsets_[num_offsets_++] = value;
    return true;
  }
  bool string(std::string& value) {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kTensor || field_ != Field::kDtype) return Unexpected("a string");
    dtype_ = value;
    return true;
  }
  bool key(std::string& key) {
    if (place_ == Place::kMetadata) return true;
    if (place_ == Place::kTensor) return StartField(key);
    tensor_ = key;
    if (tensor_.empty()) return Fail("found an empty name");
    const bool is_new = tensor_ == kMetadata ? !std::exchange(has_metadata_, true)
                                             : tensors_.emplace(tensor_, SafetensorsTensor()).second;
    return is_new || Fail("found twice");
  }
  bool start_object(size_t) {
    if (place_ == Place::kStart) {
      place_ = Place::kTensors;
    } else if (place_ == Place::kTensors) {
      place_ = tensor_ == kMetadata ? Place::kMetadata : Place::kTensor;
      has_ = {};
      dtype_.clear();
      shape_.clear();
      num_offsets_ = 0;
    } else {
      return Unexpected("an object");
    }
    return true;
  }
  bool end_object() {
    const bool good = place_ != Place::kTensor || FinishTensor();
    place_ = place_ == Place::kTensors ? Place::kEnd : Place::kTensors;
    return good;
  }
  bool start_array(size_t) {
    if (place_ != Place::kTensor || field_ == Field::kDtype) return Unexpected("an array");
    place_ = field_ == Field::kShape ? Place::kShape : Place::kOffsets;
    return true;
  }
  bool end_array() {
    place_ = Place::kTensor;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    status_ = absl::InvalidArgumentError(absl::StrCat(name_, ": the header is not valid JSON at byte ", position));
    return false;
  }

 private:
  enum class Place { kStart, kTensors, kTensor, kShape, kOffsets, kMetadata, kEnd };
  enum class Field { kDtype, kShape, kOffsets };

  template <class... Parts>
  bool FailWith(absl::StatusCode code, const Parts&... parts) {
    status_ = absl::Status(code, absl::StrCat(name_, ": tensor ", Quoted(tensor_), ": ", parts...));
    return false;
  }
  template <class... Parts>
  bool Fail(const Parts&... parts) {
    return FailWith(absl::StatusCode::kInvalidArgument, parts...);
  }

  bool Unexpected(const char* found) {
    switch (place_) {
      case Place::kStart:
      case Place::kEnd:
        status_ = absl::InvalidArgumentError(
            absl::StrCat(name_, ": the header: found ", found, ", expected an object of tensors"));
        return false;
      case Place::kTensors:
        return Fail("found ", found, ", expected an object");
      case Place::kMetadata:
        return Fail("found ", found, ", expected strings");
      case Place::kShape:
      case Place::kOffsets:
        return Fail("field '", kFields[static_cast<size_t>(field_)], "': found ", found, ", expected whole numbers");
      case Place::kTensor:
        break;
    }
    return Fail("field '", kFields[static_cast<size_t>(field_)], "': found ", found, ", expected ",
                field_ == Field::kDtype ? "a string" : "an array of whole numbers");
  }

  bool StartField(const std::string& key) {
    const auto it = std::find(kFields.begin(), kFields.end(), key);
    if (it == kFields.end()) return Fail("field ", Quoted(key), ": not known");
    field_ = static_cast<Field>(it - kFields.begin());
    return !std::exchange(has_[static_cast<size_t>(field_)], true) || Fail("field ", Quoted(key), ": found twice");
  }

  bool FinishTensor() {
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (!has_[i]) return Fail("field '", kFields[i], "': missing");
    }
    SafetensorsTensor& tensor = tensors_[tensor_];
    if (dtype_ == "F32") {
      tensor.type = DType::kF32;
    } else if (dtype_ == "F16") {
      tensor.type = DType::kF16;
    } else if (dtype_ == "BF16") {
      tensor.type = DType::kBF16;
    } else {
      return FailWith(absl::StatusCode::kUnimplemented, "found type ", Quoted(dtype_),
                      ", supported are F32, F16 and BF16");
    }
    std::optional<uint64_t> size = static_cast<uint64_t>(kernels::BlockBytes(tensor.type));
    for (const int64_t dim : shape_) size = size ? CheckedMultiply(*size, static_cast<uint64_t>(dim)) : size;
    if (!size) return Fail("field 'shape': ", ShapeText(shape_), " is more than any file holds");
    if (num_offsets_ != 2) return Fail("field 'data_offsets': found ", num_offsets_, " numbers, expected two");
    const auto [begin, end] = offsets_;
    if (end < begin) return Fail("field 'data_offsets': found ", begin, " to ", end, ", expected them in order");
    if (end - begin != *size) {
      return Fail("found ", end - begin, " bytes, expected ", *size, " for the shape ", ShapeText(shape_), " in ",
                  dtype_);
    }
    if (end > data_.size()) {
      return FailWith(absl::StatusCode::kDataLoss, "ends at byte ", end, " of the data; the file has ", data_.size());
    }
    tensor.shape = shape_;
    tensor.bytes = data_.subspan(begin, end - begin);
    return true;
  }

  static constexpr std::array<const char*, 3> kFields = {"dtype", "shape", "data_offsets"};

  const std::span<const uint8_t> data_;
  const std::string& name_;
  absl::Status status_;
  SafetensorsFile tensors_;
  Place place_ = Place::kStart;
  bool has_metadata_ = false;
  // The tensor that is being read.
  std::string tensor_;
  Field field_ = Field::kDtype;
  std::array<bool, 3> has_ = {};  // by Field
  std::string dtype_;
  std::vector<int64_t> shape_;
  std::array<uint64_t, 2> offsets_ = {};
  size_t num_offsets_ = 0;
};

absl::Status CheckOverlaps(const SafetensorsFile& tensors, const std::string& name) {
  std::vector<const SafetensorsFile::value_type*> order;
  for (const auto& entry : tensors) {
    if (!entry.second.bytes.empty()) order.push_back(&entry);
  }
  const auto begin = [](const auto* entry) { return entry->second.bytes.data(); };
  std::sort(order.begin(), order.end(), [&](const auto* a, const auto* b) { return begin(a) < begin(b); });
  for (size_t i = 1; i < order.size(); ++i) {
    if (begin(order[i]) - begin(order[i - 1]) < static_cast<int64_t>(order[i - 1]->second.bytes.size())) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": tensor ", Quoted(order[i]->first),
                                                     ": overlaps the tensor ", Quoted(order[i - 1]->first)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsFile> ParseSafetensors(std::span<const uint8_t> bytes, const std::string& name) {
  ByteReader reader(bytes);
  uint64_t size = 0;
  if (!reader.Read(size)) {
    return absl::DataLossError(absl::StrCat(name, ": found ", bytes.size(), " bytes, expected a safetensors file"));
  }
  if (size < 2 || size > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(name,
                                                   ": not a safetensors file: its first eight bytes give a header",
                                                   " of ", size, " bytes, expected 2 to ", kMaxHeaderBytes));
  }
  std::span<const uint8_t> header;
  if (!reader.ReadBytes(size, header)) {
    return absl::DataLossError(
        absl::StrCat(name, ": the header ends at byte ", size + 8, "; the file has ", bytes.size()));
  }
  if (header[0] != '{') {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not a safetensors file: the header does not begin with {"));
  }
  HeaderReader directory(bytes.subspan(reader.position()), name);
  if (!Json::sax_parse(header.begin(), header.end(), &directory)) return directory.status();
  if (absl::Status status = CheckOverlaps(directory.tensors(), name); !status.ok()) return status;
  return std::move(directory.tensors());
}

std::string ShapeText(std::span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace cascade
