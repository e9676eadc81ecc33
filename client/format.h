// Numbers, times and names as people read them.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "cascade/v1/cascade.pb.h"

namespace cascade::client {

// 1234567 -> "1,234,567".
std::string WithCommas(int64_t number);
// 1536 -> "1.5 KiB".
std::string Bytes(int64_t bytes);
// With so many digits after the point.
std::string Fixed(double number, int digits);
// 0.25 s -> "250 ms", 12.3 -> "12.3 s".
std::string Seconds(double seconds);
double ToSeconds(const google::protobuf::Duration& duration);
// "2026-03-01 12:30:00" in local time; "-" when it is unset.
std::string LocalTime(const google::protobuf::Timestamp& time);

// "resident", "busy", "parked (host)", "parked (disk)".
std::string StateName(v1::SessionState state);
// "none", "journal", "image"; "-" when unspecified.
std::string DurabilityName(v1::Durability durability);
// "stop", "length", ..; "-" when unspecified.
std::string FinishReasonName(v1::FinishReason reason);
// "4 sinks, 256 + 256 tokens, stride 128, selection both in groups of 64".
std::string Describe(const v1::CacheGeometry& geometry);

}  // namespace cascade::client
