# Warnings and sanitizers for our own targets; nothing global.
find_program(CASCADE_CCACHE ccache)
if(CASCADE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CASCADE_CCACHE})
endif()

add_library(cascade_warnings INTERFACE)
target_compile_options(cascade_warnings INTERFACE -Wall -Wextra -Wno-unused-parameter)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # Finds overlaps that are not there in "text" + std::string (GCC bug 105329).
  target_compile_options(cascade_warnings INTERFACE -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(cascade_warnings INTERFACE -Werror=thread-safety)
endif()

if(CASCADE_SANITIZE)
  # The one flag that must reach every object, also those that GoogleTest's headers make.
  add_compile_options(-fsanitize=${CASCADE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CASCADE_SANITIZE})
endif()
