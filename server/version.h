#pragma once

namespace cascade {

// The project's, from CMake.
inline constexpr char kVersion[] = CASCADE_VERSION;

}  // namespace cascade
