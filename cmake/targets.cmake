# One target per folder, with explicit sources and dependencies.

# cascade_library(NAME SOURCES a.cc .. HEADERS a.h .. DEPS public.. PRIVATE_DEPS ..)
function(cascade_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES} ${ARG_HEADERS})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} cascade_warnings)
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
  endif()
endfunction()

# cascade_program(NAME SOURCES .. DEPS ..)
function(cascade_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} cascade_warnings)
endfunction()

# cascade_test(NAME SOURCES .. DEPS .. [TIMEOUT seconds] [PROCESSORS n] [LABELS ..]): a GoogleTest program, one CTest
# entry. Entries run in parallel. Labels that the tsan preset leaves out: `wire` (talks gRPC, whose library is not built
# for ThreadSanitizer), `golden` (hours of arithmetic there, and no thread that others do not have) and `emulated` (fibers,
# which it does not know).
function(cascade_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;PROCESSORS" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} cascade_warnings GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(NOT ARG_PROCESSORS)
    set(ARG_PROCESSORS 1)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} PROCESSORS ${ARG_PROCESSORS} LABELS "${ARG_LABELS}"
    ENVIRONMENT "CASCADE_GOLDEN_DIR=${PROJECT_SOURCE_DIR}/tests/golden;CASCADE_DEMO_MODEL=${CASCADE_DEMO_MODEL}")
endfunction()
