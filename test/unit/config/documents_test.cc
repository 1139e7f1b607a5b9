// berthd.toml(5) and the example against the catalogue: what is documented is what is read.
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "base/log.h"
#include "config/catalogue.h"
#include "config/later.h"
#include "config/presets.h"
#include "config/print.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

std::filesystem::path source_root() {
  return std::filesystem::absolute(__FILE__).parent_path() / "../../..";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// One line of mdoc as it reads: `.Qq never ,` is `"never",`.
std::string as_read(const std::string& line) {
  if (!line.starts_with('.')) return line;
  const size_t space = line.find(' ');
  if (space == line.npos) return {};
  std::string word = line.substr(space + 1);
  std::string after;
  if (const size_t end = word.rfind(' '); end != word.npos && end + 2 == word.size()) {
    after = word.substr(end + 1);
    word = word.substr(0, end);
  }
  return line.starts_with(".Qq ") ? '"' + word + '"' + after : word + after;
}

// The entries `.It Ic NAME` of a section of berthd.toml(5), each as running text.
std::map<std::string, std::string> documented(const std::string& section) {
  std::map<std::string, std::string> entries;
  std::ifstream manual(source_root() / "man/berthd.toml.5");
  EXPECT_TRUE(manual.good());
  std::string* entry = nullptr;
  bool inside = false;
  for (std::string line; std::getline(manual, line);) {
    if (line.starts_with(".Sh ")) inside = line == ".Sh " + section;
    if (!inside) continue;
    if (line.starts_with(".It Ic ")) {
      entry = &entries[line.substr(7)];
    } else if (line == ".El") {
      entry = nullptr;
    } else if (entry != nullptr) {
      *entry += as_read(replaced(line, "\\&", "")) + " ";
    }
  }
  return entries;
}

bool says(const std::string& entry, const std::string& text) {
  return entry.find(text) != entry.npos;
}

template <class T>
void compare(const std::string& section, const std::vector<Setting<T>>& settings,
             unsigned scope = kAllPools) {
  std::map<std::string, std::string> entries = documented(section);
  for (const Setting<T>& setting : settings) {
    if ((setting.scope & scope) == 0) continue;
    const auto found = entries.find(std::string(setting.name));
    ASSERT_NE(found, entries.end()) << setting.name << " is not in berthd.toml(5)";
    const std::string& entry = found->second;
    const std::string value = setting.kind.write(T{});
    // Without an endpoint a pool is none, nor is a socket without a path: they have no default.
    const bool required = setting.name == "endpoints" || setting.name == "path";
    const std::string text = required ? "Required." : "Default: " + value;
    EXPECT_TRUE(says(entry, text + (text.ends_with('.') ? "" : ".")) || says(entry, text + ";"))
        << setting.name << ": " << text << "\n"
        << entry;
    EXPECT_TRUE(says(entry, setting.kind.bounds)) << setting.kind.bounds << "\n" << entry;
    const std::string effect = "Takes effect " + std::string(effect_words(setting.effect)) + ".";
    EXPECT_TRUE(entry.ends_with(effect + " ")) << effect << "\n" << entry;
    entries.erase(found);
  }
  for (const auto& [name, entry] : entries) ADD_FAILURE() << name << " is documented, not read";
}

TEST(ConfigManual, NamesEverySettingOfTheDaemonWithItsDefaultAndBounds) {
  compare("THE TABLE [daemon]", daemon_settings());
}

TEST(ConfigManual, NamesEverySettingOfAPoolWithItsDefaultAndBounds) {
  compare("THE TABLES [pool.NAME]", pool_settings(), kStreamPools | kSlotPools);
}

TEST(ConfigManual, NamesEverySettingOfChannelPoolsAloneWithItsDefaultAndBounds) {
  std::vector<Setting<pool::PoolPolicy>> settings = pool_settings();
  std::erase_if(settings, [](const auto& setting) { return setting.scope != kChannelPools; });
  compare("CHANNEL POOLS", settings);
}

TEST(ConfigManual, NamesEverySettingOfASocketWithItsDefault) {
  compare("THE TABLES [socket.NAME]", socket_settings());
}

TEST(ConfigManual, NamesEverySettingOfDynamicKeysWithItsDefault) {
  compare("THE TABLE [dynamic]", dynamic_settings());
}

class ConfigDocuments : public ConfigTest {
 protected:
  Loaded load_text(const std::string& text) { return load_main(text); }
};

TEST_F(ConfigDocuments, TheExampleOfTheTreeLoadsWithoutAWarning) {
  options_.main_file = source_root() / "contrib/examples/berthd.toml";
  const Loaded loaded = load(options_);
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings), Lines{});
  EXPECT_GE(loaded.settings.pools.size(), 3u);
  EXPECT_EQ(load_text(print(loaded.settings)).settings, loaded.settings);
}

struct Display {
  std::string section;
  std::string entry;  // that of .It before it
  std::string text;
};

// The manual's texts between .Bd and .Ed.
std::vector<Display> displays() {
  std::ifstream manual(source_root() / "man/berthd.toml.5");
  std::vector<Display> out;
  std::string section;
  std::string entry;
  bool inside = false;
  for (std::string line; std::getline(manual, line);) {
    if (line.starts_with(".Sh ")) section = line.substr(4);
    if (line.starts_with(".It Ic ")) entry = line.substr(7);
    if (line.starts_with(".Bd ")) out.push_back({section, entry, ""});
    inside = line.starts_with(".Bd ") || (inside && line != ".Ed");
    if (!inside || line.starts_with(".Bd ")) continue;
    out.back().text += replaced(line, "\\e", "\\") + "\n";
  }
  return out;
}

const std::string kPresetSection = "PROTOCOLS";

TEST_F(ConfigDocuments, TheManualsExamplesLoad) {
  write("redis-password", "hunter2\n");
  ASSERT_EQ(::chmod(path("redis-password").c_str(), 0600), 0);
  const Variable credentials("CREDENTIALS_DIRECTORY", folder_.c_str());
  size_t examples = 0;
  for (const auto& [section, entry, text] : displays()) {
    if (section == kPresetSection) continue;
    ++examples;
    if (text.starts_with("#!")) continue;  // a program, which test/e2e runs
    const std::string known =
        replaced(replaced(text, "\"reports\"", "\"root\""), "\"backup\"", "\"root\"");
    const std::string here = replaced(known, "/usr/local/lib/berth/through-gate", "/bin/sh");
    EXPECT_EQ(lines(load_text(here).problems), Lines{}) << text;
  }
  EXPECT_EQ(examples, 10u);
}

std::string words_of(unsigned when) {
  constexpr std::pair<Condition, const char*> kWords[] = {
      {kPoolLogsIn, "the pool logs in"},       {kHoldersLogIn, "the pool does not log in"},
      {kReused, "connections are reused"},     {kSingleUse, "connections are used once"},
      {kGreetingRead, "the greeting is read"}, {kPresetReset, "reset is this one"},
      {kStartsTls, "starttls = true"},         {kStaysPlain, "starttls is not said"},
  };
  std::string out;
  for (const auto& [condition, words] : kWords) {
    if ((when & condition) != 0) out += (out.empty() ? "# if " : ", ") + std::string(words);
  }
  return out.empty() ? out : out + "\n";
}

std::string without_indents(const std::string& text) {
  std::istringstream all(text);
  std::string out;
  for (std::string line; std::getline(all, line);) {
    out += line.substr(std::min(line.find_first_not_of(' '), line.size())) + "\n";
  }
  return out;
}

TEST(ConfigManual, ShowsAllThatAProtocolBringsAndWhen) {
  std::map<std::string, std::string> shown;
  for (const auto& [section, entry, text] : displays()) {
    if (section == kPresetSection) shown[entry] += without_indents(text);
  }
  const auto entries = documented(kPresetSection);
  for (const Preset& preset : presets()) {
    const std::string name(preset.protocol);
    EXPECT_TRUE(entries.contains(name)) << name;
    std::string expected;
    for (const PresetValue& each : preset.values) {
      expected.append(words_of(each.when)).append(each.setting).append(" = ");
      expected.append(each.value).append("\n");
    }
    EXPECT_EQ(shown[name], without_indents(expected));
  }
  EXPECT_EQ(entries.size(), presets().size());
}

TEST(ConfigCatalogue, HasEachNameOnce) {
  std::set<std::string_view> names;
  for (const std::string_view name : names_of(daemon_settings())) {
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  // Of the daemon's leases, and of a channel's streams: which is meant, the table says.
  names.erase("drain_timeout");
  for (const std::string_view name : names_of(pool_settings())) {
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  for (const std::string_view name : kLaterSettings) {
    EXPECT_TRUE(names.insert(name).second) << name << " is available and not";
  }
}

TEST(ConfigCatalogue, LogLevelsAreThoseOfTheLog) {
  for (const Setting<DaemonSettings>& setting : daemon_settings()) {
    if (setting.name != "log_level") continue;
    EXPECT_EQ(setting.kind.bounds,
              "\"trace\", \"debug\", \"info\", \"warn\", \"error\" or \"off\"");
  }
  for (const char* level : {"trace", "debug", "info", "warn", "error", "off"}) {
    EXPECT_TRUE(is_log_level(level)) << level;
  }
}

}  // namespace
}  // namespace berth::config
