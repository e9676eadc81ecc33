#include "tests/support/gguf_writer.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <utility>

#include "kernels/base/check.h"

namespace cascade {
namespace {

// As numbered in the file.
enum ValueType : uint32_t { kUint16 = 2, kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9, kUint64 = 10 };

}  // namespace

std::string RawString(std::string_view text) { return RawBytes<uint64_t>(text.size()) + std::string(text); }

uint32_t GgufTensorType(kernels::DType type) {
  switch (type) {
    case kernels::DType::kF32:
      return 0;
    case kernels::DType::kF16:
      return 1;
    case kernels::DType::kQ4_0:
      return 2;
    case kernels::DType::kQ4_1:
      return 3;
    case kernels::DType::kQ5_0:
      return 6;
    case kernels::DType::kQ5_1:
      return 7;
    case kernels::DType::kQ8_0:
      return 8;
    case kernels::DType::kQ2_K:
      return 10;
    case kernels::DType::kQ3_K:
      return 11;
    case kernels::DType::kQ4_K:
      return 12;
    case kernels::DType::kQ5_K:
      return 13;
    case kernels::DType::kQ6_K:
      return 14;
    case kernels::DType::kIQ4_NL:
      return 20;
    case kernels::DType::kBF16:
      return 30;
  }
  return ~0u;
}

void GgufWriter::SetRaw(std::string_view key, uint32_t type, std::string bytes) {
  const auto it = std::find_if(values.begin(), values.end(), [&](const Value& value) { return value.key == key; });
  if (it != values.end()) {
    it->type = type;
    it->bytes = std::move(bytes);
  } else {
    values.push_back({std::string(key), type, std::move(bytes)});
  }
}

void GgufWriter::SetUint32(std::string_view key, uint32_t value) { SetRaw(key, kUint32, RawBytes(value)); }
void GgufWriter::SetUint64(std::string_view key, uint64_t value) { SetRaw(key, kUint64, RawBytes(value)); }
void GgufWriter::SetInt32(std::string_view key, int32_t value) { SetRaw(key, kInt32, RawBytes(value)); }
void GgufWriter::SetFloat32(std::string_view key, float value) { SetRaw(key, kFloat32, RawBytes(value)); }
void GgufWriter::SetBool(std::string_view key, bool value) { SetRaw(key, kBool, RawBytes<uint8_t>(value)); }
void GgufWriter::SetString(std::string_view key, std::string_view value) { SetRaw(key, kString, RawString(value)); }

void GgufWriter::SetStrings(std::string_view key, const std::vector<std::string>& strings) {
  std::string bytes = RawBytes<uint32_t>(kString) + RawBytes<uint64_t>(strings.size());
  for (const std::string& text : strings) bytes += RawString(text);
  SetRaw(key, kArray, std::move(bytes));
}

void GgufWriter::SetInt32s(std::string_view key, const std::vector<int32_t>& numbers) {
  std::string bytes = RawBytes<uint32_t>(kInt32) + RawBytes<uint64_t>(numbers.size());
  for (const int32_t number : numbers) bytes += RawBytes(number);
  SetRaw(key, kArray, std::move(bytes));
}

void GgufWriter::Remove(std::string_view key) {
  std::erase_if(values, [&](const Value& value) { return value.key == key; });
}

void GgufWriter::AddTensor(std::string_view name, std::vector<uint64_t> dims, kernels::DType type, std::string data) {
  tensors.push_back({std::string(name), std::move(dims), GgufTensorType(type), std::move(data), std::nullopt});
}

GgufWriter::Tensor& GgufWriter::FindTensor(std::string_view name) {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) { return tensor.name == name; });
  CASCADE_CHECK(it != tensors.end());
  return *it;
}

void GgufWriter::RemoveTensor(std::string_view name) {
  std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
}

std::string GgufWriter::Build(size_t* header_size) const {
  std::string file = RawBytes(magic) + RawBytes(version) + RawBytes<uint64_t>(num_tensors.value_or(tensors.size())) +
                     RawBytes<uint64_t>(num_values.value_or(values.size()));
  for (const Value& value : values) file += RawString(value.key) + RawBytes(value.type) + value.bytes;
  const auto padded = [&](uint64_t size) { return (size + alignment - 1) / alignment * alignment; };
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    file += RawString(tensor.name) + RawBytes(static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) file += RawBytes(dim);
    file += RawBytes(tensor.type) + RawBytes(tensor.offset.value_or(offset));
    offset += padded(tensor.data.size());
  }
  if (header_size != nullptr) *header_size = file.size();
  for (const Tensor& tensor : tensors) {
    file.resize(padded(file.size()));
    file += tensor.data;
  }
  return file;
}

void GgufWriter::Write(const std::string& path) const { WriteFile(path, Build()); }

std::vector<GgufWriter> SplitModel(const GgufWriter& model, int count, int first_tensors) {
  CASCADE_CHECK(count >= 2);
  std::vector<GgufWriter> parts(static_cast<size_t>(count));
  parts[0] = model;
  parts[0].tensors.clear();
  for (int i = 0; i < count; ++i) {
    const auto set16 = [&](const char* key, int value) {
      parts[i].SetRaw(key, kUint16, RawBytes(static_cast<uint16_t>(value)));
    };
    set16("split.no", i);
    set16("split.count", count);
    parts[i].SetInt32("split.tensors.count", static_cast<int32_t>(model.tensors.size()));
    parts[i].alignment = model.alignment;
  }
  const int total = static_cast<int>(model.tensors.size());
  const int share = (total - first_tensors + count - 2) / (count - 1);
  for (int t = 0; t < total; ++t) {
    const int part = t < first_tensors ? 0 : 1 + (t - std::max(first_tensors, 0)) / share;
    parts[part].tensors.push_back(model.tensors[t]);
  }
  return parts;
}

std::string PartName(const std::string& base, int part, int count) {
  char suffix[48];
  std::snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", part + 1, count);
  return base + suffix;
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  CASCADE_CHECK(stream.good());
}

}  // namespace cascade
