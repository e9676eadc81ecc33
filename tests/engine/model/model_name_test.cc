// What a model is called.
#include "engine/model/model_name.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace cascade {
namespace {

TEST(ModelName, PrintsOnOneLineWhateverItIs) {
  EXPECT_EQ(PrintableName("Tiny 2"), "Tiny 2");
  EXPECT_EQ(PrintableName("Größe 😀"), "Größe 😀");
  EXPECT_EQ(PrintableName("a\nb\x1b[31m\tc"), "a b [31m c");
  EXPECT_EQ(PrintableName("a\xe2\x80\xae"
                          "b\xc2\x85"),
            "a b ");  // U+202E, U+0085
}

TEST(ModelName, OfAPath) {
  EXPECT_EQ(NameOfPath("/models/tiny-Q4_K.gguf"), "tiny-Q4_K");
  EXPECT_EQ(NameOfPath("/models/tiny"), "tiny");
  EXPECT_EQ(NameOfPath("/models/tiny/."), "tiny");
  EXPECT_EQ(NameOfPath("."), std::filesystem::current_path().filename().string());
  EXPECT_EQ(NameOfPath("/hub/models--org--some-model/snapshots/0a1b"), "org/some-model");
  EXPECT_EQ(NameOfPath("/models/a\nb"), "a b");
}

}  // namespace
}  // namespace cascade
