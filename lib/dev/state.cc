// SPDX-License-Identifier: Apache-2.0
// The saved form, all little-endian:
//   header  "ATLS", u16 version, u16 length of the device's name, the name
//   fields  in VisitState()'s order, each
//             u8 kind, u8 length of its name, the name, u32 length, the bytes
//   end     a field of kind kEnd, with no name and no bytes
// Fields carry their names so that a mismatch is told as one, and so that a
// saved state can be read by people's tools.
#include "lib/dev/state.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/dev/device.h"
#include "lib/dev/named_state.h"

namespace atl::dev {
namespace {

constexpr char kMagic[] = {'A', 'T', 'L', 'S'};
constexpr uint16_t kVersion = 1;

enum Kind : uint8_t { kEnd, kInteger, kBytes, kBlob, kBegin, kEndPart };

class Saver final : public StateVisitor {
 public:
  std::vector<uint8_t> out;

  template <typename T>
  void Put(T v) {
    uint8_t bytes[sizeof(T)];
    StoreLe(bytes, v);
    out.insert(out.end(), bytes, bytes + sizeof bytes);
  }
  void Text(absl::string_view s) { out.insert(out.end(), s.begin(), s.end()); }
  void Item(Kind kind, absl::string_view name, std::span<const uint8_t> bytes) {
    name = name.substr(0, 255);
    Put<uint8_t>(kind);
    Put<uint8_t>(static_cast<uint8_t>(name.size()));
    Text(name);
    Put<uint32_t>(static_cast<uint32_t>(bytes.size()));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }

  void Blob(absl::string_view name, std::vector<uint8_t>& v, uint64_t) override {
    Item(kBlob, name, v);
  }
  void Bytes(absl::string_view name, std::span<uint8_t> v) override { Item(kBytes, name, v); }
  void Begin(absl::string_view part) override { Item(kBegin, part, {}); }
  void End() override { Item(kEndPart, "", {}); }
  bool loading() const override { return false; }
  absl::Status status() const override { return absl::OkStatus(); }

 protected:
  void Integer(absl::string_view name, uint64_t& v, unsigned size) override {
    uint8_t bytes[8];
    StoreLe(bytes, v);
    Item(kInteger, name, {bytes, size});
  }
  void CheckMax(absl::string_view, uint64_t, uint64_t) override {}
};

class Loader final : public StateVisitor {
 public:
  explicit Loader(std::span<const uint8_t> bytes) : reader_(bytes) {}

  absl::Status Header(absl::string_view device) {
    auto magic = reader_.ReadSpan(sizeof kMagic);
    if (!magic || std::memcmp(magic->data(), kMagic, sizeof kMagic) != 0)
      return absl::InvalidArgumentError("not a device state (no ATLS at its start)");
    auto version = reader_.Read<uint16_t>();
    if (!version || *version != kVersion) {
      return absl::InvalidArgumentError(
          absl::StrFormat("version %d, this program knows %d", version.value_or(0), kVersion));
    }
    auto length = reader_.Read<uint16_t>();
    auto name = length ? reader_.ReadSpan(*length) : std::nullopt;
    if (!name) return absl::InvalidArgumentError("cut off in its header");
    absl::string_view is(reinterpret_cast<const char*>(name->data()), name->size());
    if (is != device) return absl::InvalidArgumentError(absl::StrCat("is of device '", is, "'"));
    return absl::OkStatus();
  }
  absl::Status Finish() {
    if (!status_.ok()) return status_;
    auto bytes = Item(kEnd, "");
    if (!bytes) return status_;
    if (reader_.remaining() != 0)
      return absl::InvalidArgumentError(absl::StrCat(reader_.remaining(), " bytes past the end"));
    return absl::OkStatus();
  }

  void Blob(absl::string_view name, std::vector<uint8_t>& v, uint64_t max) override {
    auto bytes = Item(kBlob, name);
    if (!bytes) return;
    if (bytes->size() > max)
      return Refuse(name, absl::StrCat(bytes->size(), " bytes, at most ", max));
    v.assign(bytes->begin(), bytes->end());
  }
  void Bytes(absl::string_view name, std::span<uint8_t> v) override {
    auto bytes = Item(kBytes, name);
    if (!bytes) return;
    if (bytes->size() != v.size())
      return Refuse(name, absl::StrCat(bytes->size(), " bytes, not ", v.size()));
    std::copy(bytes->begin(), bytes->end(), v.begin());
  }
  void Begin(absl::string_view part) override {
    Item(kBegin, part);
    if (status_.ok()) parts_.push_back(std::string(part));
  }
  void End() override {
    Item(kEndPart, "");
    if (status_.ok() && !parts_.empty()) parts_.pop_back();
  }
  bool loading() const override { return true; }
  absl::Status status() const override { return status_; }

 protected:
  void Integer(absl::string_view name, uint64_t& v, unsigned size) override {
    auto bytes = Item(kInteger, name);
    if (!bytes) return;
    if (bytes->size() != size)
      return Refuse(name, absl::StrCat(bytes->size(), " bytes, not ", size));
    v = 0;
    std::memcpy(&v, bytes->data(), size);
  }
  void CheckMax(absl::string_view name, uint64_t v, uint64_t max) override {
    if (status_.ok() && v > max) Refuse(name, absl::StrCat(v, " is more than ", max));
  }

 private:
  void Refuse(absl::string_view name, absl::string_view why) {
    if (!status_.ok()) return;
    std::string where;
    for (const std::string& part : parts_) absl::StrAppend(&where, part, ".");
    status_ = absl::InvalidArgumentError(absl::StrCat("field ", where, name, ": ", why));
  }
  // The next item's bytes where it is the one expected; else the error is set.
  std::optional<std::span<const uint8_t>> Item(Kind kind, absl::string_view name) {
    if (!status_.ok()) return std::nullopt;
    name = name.substr(0, 255);
    const absl::string_view shown = kind == kEnd       ? "(end)"
                                    : kind == kEndPart ? "(end of part)"
                                                       : name;
    auto is_kind = reader_.Read<uint8_t>();
    auto name_size = reader_.Read<uint8_t>();
    auto is_name = name_size ? reader_.ReadSpan(*name_size) : std::nullopt;
    auto size = is_name ? reader_.Read<uint32_t>() : std::nullopt;
    auto bytes = size ? reader_.ReadSpan(*size) : std::nullopt;
    if (!bytes) {
      Refuse(shown, "the state is cut off here");
      return std::nullopt;
    }
    absl::string_view is(reinterpret_cast<const char*>(is_name->data()), is_name->size());
    if (*is_kind != kind || is != name) {
      Refuse(shown, absl::StrFormat("the state has '%s' (kind %d) here", is, *is_kind));
      return std::nullopt;
    }
    return bytes;
  }

  BytesReader reader_;
  std::vector<std::string> parts_;
  absl::Status status_;
};

class Shower final : public StateVisitor {
 public:
  std::string out;

  void Blob(absl::string_view name, std::vector<uint8_t>& v, uint64_t) override { Bytes(name, v); }
  void Bytes(absl::string_view name, std::span<uint8_t> v) override {
    absl::StrAppend(&out, prefix_, name, " =");
    for (size_t i = 0; i < v.size();) {
      size_t run = 1;
      while (i + run < v.size() && v[i + run] == v[i]) ++run;
      absl::StrAppendFormat(&out, " %02x", v[i]);
      if (run > 3) absl::StrAppend(&out, "*", run);
      i += run > 3 ? run : 1;
    }
    absl::StrAppend(&out, "\n");
  }
  void Begin(absl::string_view part) override {
    ends_.push_back(prefix_.size());
    absl::StrAppend(&prefix_, part, ".");
  }
  void End() override {
    prefix_.resize(ends_.back());
    ends_.pop_back();
  }
  bool loading() const override { return false; }
  absl::Status status() const override { return absl::OkStatus(); }

 protected:
  void Integer(absl::string_view name, uint64_t& v, unsigned size) override {
    const uint64_t mask = size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1;
    absl::StrAppendFormat(&out, "%s%s = %#x\n", prefix_, name, v & mask);
  }
  void CheckMax(absl::string_view, uint64_t, uint64_t) override {}

 private:
  std::string prefix_;
  std::vector<size_t> ends_;
};

}  // namespace

std::vector<uint8_t> SaveNamedState(absl::string_view name, Visit visit) {
  Saver saver;
  saver.Text({kMagic, sizeof kMagic});
  saver.Put<uint16_t>(kVersion);
  saver.Put<uint16_t>(static_cast<uint16_t>(name.size()));
  saver.Text(name);
  visit(saver);
  saver.Item(kEnd, "", {});
  return std::move(saver.out);
}

absl::Status LoadNamedState(absl::string_view name, std::span<const uint8_t> bytes, Visit visit) {
  Loader loader(bytes);
  const std::string where = absl::StrCat("state of ", name);
  RETURN_IF_ERROR(Annotate(loader.Header(name), where));
  visit(loader);
  return Annotate(loader.Finish(), where);
}

std::vector<uint8_t> SaveState(Device& device) {
  return SaveNamedState(device.name(), [&](StateVisitor& v) { device.VisitState(v); });
}

absl::Status LoadState(Device& device, std::span<const uint8_t> bytes) {
  return LoadNamedState(device.name(), bytes, [&](StateVisitor& v) { device.VisitState(v); });
}

std::string ShowState(Device& device) {
  Shower shower;
  device.VisitState(shower);
  return std::move(shower.out);
}

}  // namespace atl::dev
