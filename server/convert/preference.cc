#include "server/convert/preference.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/session_stream.h"

namespace bilevel::server {
namespace {

constexpr int kMaxPreferences = 8192;

absl::StatusOr<std::vector<int32_t>> DecodeIndices(const char* field, bool present, const v1::Array& array) {
  if (!present) return FieldError(field, "is absent; required");
  ASSIGN_OR_RETURN(const std::vector<uint32_t> wide, InField(field, DecodeIndexList<uint32_t>(array)));
  std::vector<int32_t> indices(wide.size());
  std::transform(wide.begin(), wide.end(), indices.begin(), NarrowIndex);
  return indices;
}

absl::StatusOr<FragmentSource> DecodeFragment(const v1::Fragment& message, const Session& session) {
  FragmentSource source;
  switch (message.source_case()) {
    case v1::Fragment::kRange: {
      const v1::Fragment::Range& range = message.range();
      const absl::StatusOr<size_t> writer = session.FindWriter(DecodeWriter(range.writer_id()));
      if (!writer.ok()) {
        return FieldError("range.writer_id",
                          absl::StrCat("is \"", range.writer_id(), "\", which is none of the session's writers"));
      }
      source.range = FragmentSource::Range{*writer, range.episode_id(), range.first_step(), range.count()};
      return source;
    }
    case v1::Fragment::kSteps: {
      const v1::Fragment::Steps& steps = message.steps();
      ASSIGN_OR_RETURN(source.states, DecodeIndices("steps.state", steps.has_state(), steps.state()));
      ASSIGN_OR_RETURN(source.actions, DecodeIndices("steps.action", steps.has_action(), steps.action()));
      source.context = steps.context();
      return source;
    }
    default:
      return FieldError("source", "is absent; must be range or steps");
  }
}

}  // namespace

absl::StatusOr<std::vector<PreferenceSource>> DecodePreferences(const v1::AddPreferencesRequest& request,
                                                                const Session& session) {
  if (request.preferences_size() < 1 || request.preferences_size() > kMaxPreferences) {
    return FieldError("preferences",
                      absl::StrCat("has ", request.preferences_size(), " entries; must have 1 to ", kMaxPreferences));
  }
  std::vector<PreferenceSource> sources;
  for (int i = 0; i < request.preferences_size(); ++i) {
    const v1::Preference& preference = request.preferences(i);
    const std::string path = absl::StrCat("preferences[", i, "]");
    PreferenceSource& source = sources.emplace_back();
    ASSIGN_OR_RETURN(source.first, InField(path + ".first", DecodeFragment(preference.first(), session)));
    ASSIGN_OR_RETURN(source.second, InField(path + ".second", DecodeFragment(preference.second(), session)));
    source.first_preferred = preference.first_preferred();
  }
  return sources;
}

}  // namespace bilevel::server
