// libberth(3) and berth(1) against the header, the examples and the command's own list: what is
// there is documented, and nothing else is.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Names = std::set<std::string>;

std::string read(const std::string& path) {
  const auto root = std::filesystem::absolute(__FILE__).parent_path() / "../../..";
  std::ifstream file(root / path);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What the first group of `pattern` matches, everywhere in `text`. Multiline: ^ begins a line.
Names all(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  Names names;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i) {
    names.insert((*i)[1].str());
  }
  return names;
}

std::string section(const std::string& manual, const std::string& name) {
  const size_t begin = manual.find(".Sh " + name + "\n");
  EXPECT_NE(begin, manual.npos) << name;
  if (begin == manual.npos) return {};
  return manual.substr(begin, manual.find("\n.Sh ", begin) - begin);
}

// A source as it stands between .Bd and .Ed.
std::string as_display(const std::string& source) {
  std::string out = ".Bd -literal\n";
  for (const char c : source) out += c == '\\' ? "\\e" : std::string(1, c);
  return out + ".Ed\n";
}

TEST(Libberth3, HasTheFunctionsOfTheHeaderAndNoOthers) {
  const Names functions = all(read("src/client/berth/berth.h"), R"(^BERTH_API .*?(berth_\w+)\()");
  const std::string manual = read("man/libberth.3");
  EXPECT_GE(functions.size(), 17u);
  EXPECT_EQ(all(section(manual, "SYNOPSIS"), R"(^\.F[no] (berth_\w+))"), functions);
  EXPECT_EQ(all(manual, R"(\bF[no] (berth_\w+))"), functions);
}

// The synopsis has them all, so look for them in the text.
TEST(Libberth3, ExplainsEachFunction) {
  const std::string text = section(read("man/libberth.3"), "DESCRIPTION");
  EXPECT_EQ(all(text, R"(\bFn (berth_\w+))"),
            all(read("src/client/berth/berth.h"), R"(^BERTH_API .*?(berth_\w+)\()"));
}

TEST(Libberth3, HasTheErrorsAndCodesOfTheHeader) {
  const std::string header = read("src/client/berth/berth.h");
  const std::string manual = read("man/libberth.3");
  EXPECT_EQ(all(section(manual, "ERRORS"), R"(\bEr \\-(E[A-Z]+))"),
            all(header, R"(^ \* {13}-(E[A-Z]+) )"));
  EXPECT_EQ(all(manual, R"(\bDv (BERTH_\w+))"),
            all(header, R"(^(?:#define|) +(BERTH_(?!API)\w+) )"));
}

TEST(Libberth3, ShowsTheExamplesOfTheTree) {
  const std::string manual = read("man/libberth.3");
  for (const char* path : {"contrib/examples/lease.c", "contrib/examples/lease.cc"}) {
    EXPECT_NE(manual.find(as_display(read(path))), manual.npos) << path;
  }
}

TEST(Berth1, HasTheCommandsAndOptionsOfTheProgram) {
  const std::string main = read("src/cli/main.cc");
  const std::string manual = read("man/berth.1");
  const Names commands = all(main, R"rx(^    \{"(\w+)", ")rx");
  EXPECT_GE(commands.size(), 4u);
  EXPECT_EQ(all(section(manual, "SYNOPSIS"), R"(^\.Cm (\w+))"), commands);
  EXPECT_EQ(all(manual, R"(^\.Ss berth (\w+))"), commands);
  EXPECT_EQ(all(section(manual, "DESCRIPTION"), R"(^\.It Fl -(\w+))"), all(main, R"(" +--(\w+))"));
}

}  // namespace
