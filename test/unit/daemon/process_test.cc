#include "daemon/process.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace berth::daemon {
namespace {

class RuntimeDir : public ::testing::Test {
 protected:
  RuntimeDir() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-process-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    before_ = ::umask(0077);  // as the service has it
  }
  ~RuntimeDir() override {
    ::umask(before_);
    std::filesystem::remove_all(folder_);
  }

  std::string path(const char* name) const { return (folder_ / name).string(); }

  static mode_t mode_of(const std::string& path) {
    struct stat file {};
    EXPECT_EQ(::stat(path.c_str(), &file), 0) << path;
    return file.st_mode & 07777;
  }

  std::filesystem::path folder_;
  mode_t before_;
};

TEST_F(RuntimeDir, IsOpenToAllWhateverTheUmaskAndWithUserToNobodyElse) {
  ASSERT_TRUE(make_runtime_dir(path("a"), false).ok());
  EXPECT_EQ(mode_of(path("a")), 0755u);
  ::umask(0);
  ASSERT_TRUE(make_runtime_dir(path("b"), true).ok());
  EXPECT_EQ(mode_of(path("b")), 0700u);
}

TEST_F(RuntimeDir, ThatIsThereStaysAsItIs) {
  ASSERT_EQ(::mkdir(path("a").c_str(), 0700), 0);
  EXPECT_TRUE(make_runtime_dir(path("a"), false).ok());
  EXPECT_EQ(mode_of(path("a")), 0700u);
}

TEST_F(RuntimeDir, ThatCannotBeMadeIsNamed) {
  const absl::Status made = make_runtime_dir(path("missing/a"), false);
  EXPECT_EQ(made.message(),
            "folder " + path("missing/a") + " cannot be made: No such file or directory");
}

}  // namespace
}  // namespace berth::daemon
