#include "client/format.h"

#include <cstdio>
#include <ctime>

namespace cascade::client {

std::string Fixed(double number, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, number);
  return buffer;
}

std::string WithCommas(int64_t number) {
  std::string digits = std::to_string(number);
  const int first = number < 0 ? 1 : 0;
  for (int place = static_cast<int>(digits.size()) - 3; place > first; place -= 3) digits.insert(place, ",");
  return digits;
}

std::string Bytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double size = static_cast<double>(bytes);
  int unit = 0;
  for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
  return Fixed(size, unit == 0 ? 0 : 1) + " " + kUnits[unit];
}

std::string Seconds(double seconds) {
  if (seconds < 0.01) return Fixed(seconds * 1e3, 1) + " ms";
  if (seconds < 1) return Fixed(seconds * 1e3, 0) + " ms";
  return Fixed(seconds, 1) + " s";
}

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

std::string LocalTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  const std::time_t seconds = time.seconds();
  std::tm parts{};
  char buffer[32];
  if (localtime_r(&seconds, &parts) == nullptr || std::strftime(buffer, sizeof(buffer), "%F %T", &parts) == 0)
    return "-";
  return buffer;
}

std::string StateName(v1::SessionState state) {
  switch (state) {
    case v1::SESSION_STATE_RESIDENT:
      return "resident";
    case v1::SESSION_STATE_BUSY:
      return "busy";
    case v1::SESSION_STATE_PARKED_HOST:
      return "parked (host)";
    case v1::SESSION_STATE_PARKED_DISK:
      return "parked (disk)";
    default:
      return "-";
  }
}

std::string DurabilityName(v1::Durability durability) {
  switch (durability) {
    case v1::DURABILITY_NONE:
      return "none";
    case v1::DURABILITY_JOURNAL:
      return "journal";
    case v1::DURABILITY_IMAGE:
      return "image";
    default:
      return "-";
  }
}

std::string FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_STOP_SEQUENCE:
      return "stop sequence";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    case v1::FINISH_REASON_DEADLINE:
      return "deadline";
    case v1::FINISH_REASON_ERROR:
      return "error";
    default:
      return "-";
  }
}

std::string Describe(const v1::CacheGeometry& geometry) {
  std::string text = WithCommas(geometry.num_sinks()) + " sinks, ";
  for (int i = 0; i < geometry.sub_cache_tokens_size(); ++i) {
    text += (i == 0 ? "" : " + ") + WithCommas(geometry.sub_cache_tokens(i));
  }
  text += " tokens, stride " + WithCommas(geometry.stride());
  if (geometry.sub_cache_tokens_size() > 1) {
    text += ", selection " + geometry.selection() + " in groups of " + std::to_string(geometry.selection_group());
  }
  return text;
}

}  // namespace cascade::client
