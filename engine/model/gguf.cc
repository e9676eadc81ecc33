#include "engine/model/gguf.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/byte_reader.h"

namespace cascade {
namespace {

using kernels::DType;

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 16;
// The smallest entries: an empty name's length, a type and one byte; a name's length, rank, one dimension, type,
// offset.
constexpr uint64_t kMinValueBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// As ggml names them, for messages.
std::string TensorTypeName(uint32_t type) {
  static constexpr const char* kNames[] = {
      "F32",    "F16",      "Q4_0",     "Q4_1",     "Q4_2",  "Q4_3",  "Q5_0",       "Q5_1",       "Q8_0",       "Q8_1",
      "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",    "IQ1_S",
      "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",        "I64",        "F64",        "IQ1_M",
      "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
  };
  return type < std::size(kNames) ? kNames[type] : absl::StrCat("number ", type);
}

std::optional<DType> ToDType(uint32_t type) {
  switch (type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 6:
      return DType::kQ5_0;
    case 7:
      return DType::kQ5_1;
    case 8:
      return DType::kQ8_0;
    case 10:
      return DType::kQ2_K;
    case 11:
      return DType::kQ3_K;
    case 12:
      return DType::kQ4_K;
    case 13:
      return DType::kQ5_K;
    case 14:
      return DType::kQ6_K;
    case 20:
      return DType::kIQ4_NL;
    case 30:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

// A tensor as the directory has it, before its data is found.
struct Entry {
  std::string_view name;
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t size = 0;
};

class Parser {
 public:
  Parser(std::span<const uint8_t> bytes, const std::string& name) : bytes_(bytes), reader_(bytes), name_(name) {}

  absl::StatusOr<GgufFile> Parse() {
    absl::Status status = ParseHeader();
    for (uint64_t i = 0; status.ok() && i < num_values_; ++i) status = ParseValue(i);
    for (uint64_t i = 0; status.ok() && i < num_tensors_; ++i) status = ParseTensor(i);
    if (status.ok()) status = PlaceTensors();
    if (!status.ok()) return status;
    return std::move(file_);
  }

 private:
  template <class... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", parts...));
  }
  template <class... Parts>
  absl::Status Truncated(const Parts&... parts) const {
    return absl::DataLossError(
        absl::StrCat(name_, ": ", parts..., " (file has ", bytes_.size(), " bytes; cut short?)"));
  }

  absl::Status ParseHeader() {
    uint32_t magic = 0;
    if (!reader_.Read(magic)) return Truncated("no room for the magic 'GGUF'");
    if (magic != kMagic)
      return Invalid("not a GGUF file: begins with ", Quoted(Text(bytes_.first(4))), ", expected 'GGUF'");
    if (!reader_.Read(file_.version)) return Truncated("no room for the version");
    if (file_.version != 0 && (file_.version & 0xffff) == 0) {
      return Invalid("big-endian GGUF file, expected little-endian");
    }
    if (file_.version != 2 && file_.version != 3) return Invalid("GGUF version ", file_.version, ", expected 2 or 3");
    if (!reader_.Read(num_tensors_) || !reader_.Read(num_values_)) return Truncated("no room for the header's counts");
    if (num_values_ > reader_.remaining() / kMinValueBytes) {
      return Truncated("header claims ", num_values_, " keys, more than fit in the file");
    }
    if (num_tensors_ > reader_.remaining() / kMinTensorBytes) {
      return Truncated("header claims ", num_tensors_, " tensors, more than fit in the file");
    }
    return absl::OkStatus();
  }

  absl::Status ParseValue(uint64_t index) {
    std::string_view key;
    if (!reader_.ReadString(key)) return Truncated("key ", index, " of ", num_values_, " reaches beyond the end");
    if (key.empty()) return Invalid("key ", index, " is empty");
    uint32_t type = 0;
    if (!reader_.Read(type)) return Truncated("key ", Quoted(key), ": no room for its type");
    GgufValue value;
    value.is_array = type == static_cast<uint32_t>(GgufType::kArray);
    if (value.is_array && !(reader_.Read(type) && reader_.Read(value.count))) {
      return Truncated("key ", Quoted(key), ": no room for its array's header");
    }
    if (value.is_array && type == static_cast<uint32_t>(GgufType::kArray)) {
      return Invalid("key ", Quoted(key), ": array of arrays, expected numbers or strings");
    }
    if (type > static_cast<uint32_t>(GgufType::kFloat64)) {
      return Invalid("key ", Quoted(key), ": value type ", type, ", expected 0 to 12");
    }
    value.type = static_cast<GgufType>(type);
    if (!ReadElements(value)) {
      return Truncated("key ", Quoted(key), ": its ", value.Description(), " (", value.count,
                       value.count == 1 ? " element" : " elements", ") reaches beyond the end");
    }
    if (value.type == GgufType::kBool) {
      for (const uint8_t byte : value.bytes) {
        if (byte > 1) return Invalid("key ", Quoted(key), ": BOOL is ", byte, ", expected 0 or 1");
      }
    }
    if (!file_.values.emplace(key, value).second) return Invalid("key ", Quoted(key), " appears twice");
    return absl::OkStatus();
  }

  // Sets value.bytes; false when the elements do not fit.
  bool ReadElements(GgufValue& value) {
    if (value.type != GgufType::kString) {
      const std::optional<uint64_t> size = CheckedMultiply(value.count, ElementBytes(value.type));
      return size && reader_.ReadBytes(*size, value.bytes);
    }
    const uint64_t start = reader_.position();
    std::string_view text;
    if (!value.is_array) {
      if (!reader_.ReadString(text)) return false;
      value.bytes = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
      return true;
    }
    // Each turn consumes at least 8 bytes or fails: bounded by the file, not by the count.
    for (uint64_t i = 0; i < value.count; ++i) {
      if (!reader_.ReadString(text)) return false;
    }
    value.bytes = bytes_.subspan(start, reader_.position() - start);
    return true;
  }

  static uint64_t ElementBytes(GgufType type) {
    switch (type) {
      case GgufType::kUint8:
      case GgufType::kInt8:
      case GgufType::kBool:
        return 1;
      case GgufType::kUint16:
      case GgufType::kInt16:
        return 2;
      case GgufType::kUint64:
      case GgufType::kInt64:
      case GgufType::kFloat64:
        return 8;
      default:
        return 4;
    }
  }

  absl::Status ParseTensor(uint64_t index) {
    Entry entry;
    if (!reader_.ReadString(entry.name)) {
      return Truncated("name of tensor ", index, " of ", num_tensors_, " reaches beyond the end");
    }
    if (entry.name.empty()) return Invalid("name of tensor ", index, " is empty");
    const std::string label = absl::StrCat("tensor ", Quoted(entry.name), ": ");
    GgufTensor& tensor = entry.tensor;
    uint32_t rank = 0;
    uint32_t type = 0;
    if (!reader_.Read(rank)) return Truncated(label, "its entry reaches beyond the end");
    if (rank < 1 || rank > tensor.dims.size()) return Invalid(label, rank, " dimensions, expected 1 to 4");
    tensor.num_dims = static_cast<int>(rank);
    for (uint32_t i = 0; i < rank; ++i) {
      if (!reader_.Read(tensor.dims[i])) return Truncated(label, "its entry reaches beyond the end");
    }
    if (!reader_.Read(type) || !reader_.Read(entry.offset)) return Truncated(label, "its entry reaches beyond the end");
    const std::optional<DType> known = ToDType(type);
    if (!known) {
      return absl::UnimplementedError(absl::StrCat(name_, ": ", label, "type ", TensorTypeName(type),
                                                   " is not supported, expected F32, F16, BF16, Q4_0, Q4_1, "
                                                   "Q5_0, Q5_1, Q8_0, IQ4_NL or Q2_K to Q6_K"));
    }
    tensor.type = *known;
    // Rows times columns in bytes; the whole product is checked before anything uses a part of it.
    std::optional<uint64_t> elements = 1;
    for (const uint64_t dim : tensor.dims) {
      if (dim == 0) return Invalid(label, "shape ", tensor.Shape(), " has a zero");
      if (elements) elements = CheckedMultiply(*elements, dim);
    }
    const uint64_t block = static_cast<uint64_t>(kernels::BlockElements(tensor.type));
    if (tensor.dims[0] % block != 0) {
      return Invalid(label, "rows of ", tensor.dims[0], " elements, expected a multiple of ", block, " for ",
                     TensorTypeName(type));
    }
    std::optional<uint64_t> size;
    if (elements) size = CheckedMultiply(*elements / block, static_cast<uint64_t>(kernels::BlockBytes(tensor.type)));
    if (!size || *size > bytes_.size()) {
      return Truncated(label, "shape ", tensor.Shape(), " in ", TensorTypeName(type), " is larger than the file");
    }
    entry.size = *size;
    entries_.push_back(entry);
    file_.tensor_names.push_back(entry.name);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Alignment() const {
    const GgufValue* value = file_.FindValue("general.alignment");
    if (value == nullptr) return kDefaultAlignment;
    const std::optional<int64_t> alignment = value->Integer();
    if (!alignment) return Invalid("key 'general.alignment': found ", value->Description(), ", expected an integer");
    if (*alignment < 8 || *alignment > static_cast<int64_t>(kMaxAlignment) || (*alignment & (*alignment - 1)) != 0) {
      return Invalid("key 'general.alignment': found ", *alignment, ", expected a power of two from 8 to ",
                     kMaxAlignment);
    }
    return static_cast<uint64_t>(*alignment);
  }

  // Finds the tensors' data: aligned, inside the file, no two in one place.
  absl::Status PlaceTensors() {
    const absl::StatusOr<uint64_t> alignment = Alignment();
    if (!alignment.ok()) return alignment.status();
    const uint64_t data_start =
        (reader_.position() + *alignment - 1) / *alignment * *alignment;  // below 2^64: a position
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.offset < b.offset; });
    uint64_t end = 0;  // of the tensor before, from data_start
    const Entry* before = nullptr;
    for (Entry& entry : entries_) {
      const std::string label = absl::StrCat("tensor ", Quoted(entry.name), ": ");
      if (entry.offset % *alignment != 0) {
        return Invalid(label, "offset ", entry.offset, ", expected a multiple of ", *alignment);
      }
      if (entry.offset < end) return Invalid(label, "overlaps tensor ", Quoted(before->name));
      const std::optional<uint64_t> begin = CheckedAdd(data_start, entry.offset);
      if (!begin || *begin > bytes_.size() || bytes_.size() - *begin < entry.size) {
        return Truncated(label, entry.size, " bytes at offset ", entry.offset, " of the data reach beyond the end");
      }
      end = entry.offset + entry.size;
      before = &entry;
      entry.tensor.bytes = bytes_.subspan(*begin, entry.size);
      if (!file_.tensors.emplace(entry.name, entry.tensor).second) return Invalid(label, "appears twice");
    }
    return absl::OkStatus();
  }

  static std::string_view Text(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  const std::span<const uint8_t> bytes_;
  ByteReader reader_;
  const std::string& name_;
  uint64_t num_tensors_ = 0;
  uint64_t num_values_ = 0;
  GgufFile file_;
  std::vector<Entry> entries_;
};

}  // namespace

absl::StatusOr<GgufFile> ParseGguf(std::span<const uint8_t> bytes, const std::string& name) {
  return Parser(bytes, name).Parse();
}

}  // namespace cascade
