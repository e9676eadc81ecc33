# Every library we build with; names and minimum versions are in dependencies.txt beside this file.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf 3.21 REQUIRED)
find_package(absl REQUIRED CONFIG)
find_package(gRPC 1.51 REQUIRED CONFIG)
find_package(Boost 1.74 REQUIRED)  # headers alone
find_package(nlohmann_json 3.11 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_package(hwy 1.0.3 REQUIRED CONFIG)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.40)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc>=2.5)  # 2.8 calls itself 2.6 there
if(CASCADE_TESTS)
  find_package(GTest 1.12 REQUIRED)
endif()
# Where scripts/install_dependencies keeps what no distribution packages.
if(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(cache_home $ENV{XDG_CACHE_HOME})
else()
  set(cache_home $ENV{HOME}/.cache)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/sentencepiece.cmake)
