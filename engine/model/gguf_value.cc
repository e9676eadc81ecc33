// The values of a GGUF file, read as what they are.
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/model/byte_reader.h"
#include "engine/model/gguf.h"

namespace cascade {
namespace {

template <class T>
T Load(const GgufValue& value, uint64_t index = 0) {
  T number;
  std::memcpy(&number, value.bytes.data() + index * sizeof(T), sizeof(T));
  return number;
}

}  // namespace

std::string GgufValue::Description() const {
  static constexpr const char* kNames[] = {"UINT8", "INT8",   "UINT16", "INT16",  "UINT32", "INT32",  "FLOAT32",
                                           "BOOL",  "STRING", "ARRAY",  "UINT64", "INT64",  "FLOAT64"};
  return absl::StrCat(is_array ? "array of " : "", kNames[static_cast<uint32_t>(type)]);
}

std::optional<int64_t> GgufValue::Integer() const {
  if (is_array) return std::nullopt;
  switch (type) {
    case GgufType::kUint8:
      return Load<uint8_t>(*this);
    case GgufType::kInt8:
      return Load<int8_t>(*this);
    case GgufType::kUint16:
      return Load<uint16_t>(*this);
    case GgufType::kInt16:
      return Load<int16_t>(*this);
    case GgufType::kUint32:
      return Load<uint32_t>(*this);
    case GgufType::kInt32:
      return Load<int32_t>(*this);
    case GgufType::kInt64:
      return Load<int64_t>(*this);
    case GgufType::kUint64: {
      const uint64_t number = Load<uint64_t>(*this);
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(number);
    }
    default:
      return std::nullopt;
  }
}

std::optional<float> GgufValue::Float() const {
  if (is_array || type != GgufType::kFloat32) return std::nullopt;
  return Load<float>(*this);
}

std::optional<bool> GgufValue::Bool() const {
  if (is_array || type != GgufType::kBool) return std::nullopt;
  return bytes[0] != 0;
}

std::optional<std::string_view> GgufValue::String() const {
  if (is_array || type != GgufType::kString) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::optional<std::vector<std::string_view>> GgufValue::Strings() const {
  if (!is_array || type != GgufType::kString) return std::nullopt;
  // `count` strings were read when the file was parsed; each has at least 8 bytes.
  std::vector<std::string_view> strings(count);
  ByteReader reader(bytes);
  for (std::string_view& text : strings) {
    if (!reader.ReadString(text)) return std::nullopt;
  }
  return strings;
}

std::optional<std::vector<int32_t>> GgufValue::Int32s() const {
  if (!is_array || (type != GgufType::kInt32 && type != GgufType::kUint32)) return std::nullopt;
  std::vector<int32_t> numbers(count);
  for (uint64_t i = 0; i < count; ++i) {
    numbers[i] = Load<int32_t>(*this, i);
    if (type == GgufType::kUint32 && numbers[i] < 0) return std::nullopt;
  }
  return numbers;
}

std::string GgufTensor::Shape() const {
  std::string shape = "[";
  for (int i = 0; i < num_dims; ++i) absl::StrAppend(&shape, i == 0 ? "" : ", ", dims[static_cast<size_t>(i)]);
  return shape + "]";
}

const GgufValue* GgufFile::FindValue(std::string_view key) const {
  const auto it = values.find(key);
  return it == values.end() ? nullptr : &it->second;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMax = 80;
  const std::string_view start = text.substr(0, kMax);
  return absl::StrCat("'", absl::CHexEscape(absl::string_view(start.data(), start.size())),
                      text.size() > kMax ? "..'" : "'");
}

}  // namespace cascade
