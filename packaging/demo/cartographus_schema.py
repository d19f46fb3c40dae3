"""The tables, indexes and row generators of the imitated Cartographus database.

For: `cartographus.py` beside it, which creates, seeds and writes such a database.
Not: the real DDL word by word. Names, counts, types, NOT NULLs and uniqueness that a caretaker can
see are the real ones; columns of tables nobody looks into are plausible inventions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


def words(text: str) -> list[str]:
    """Return the names in a block of text, which reads better than 204 quoted strings."""
    return text.split()


NOW = "TIMESTAMP DEFAULT CURRENT_TIMESTAMP"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `columns` is the inside of CREATE TABLE, `indexes` one `[unique] columns` each."""

    name: str
    short: str
    columns: str
    indexes: tuple[str, ...] = ()

    def create(self) -> str:
        """Return the CREATE TABLE statement."""
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({self.columns})"

    def create_indexes(self) -> list[str]:
        """Return one CREATE INDEX statement per index.

        `suffix = columns` names an index explicitly; else its columns do.
        """
        statements = []
        for entry in self.indexes:
            unique = "UNIQUE " if entry.startswith("unique ") else ""
            suffix, _, columns = entry.removeprefix("unique ").rpartition(" = ")
            name = f"idx_{self.short}_{suffix or columns.replace(', ', '_')}"
            statements.append(
                f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {self.name} ({columns})"
            )
        return statements


# --- playback_events: 204 columns = 1 UUID + 3 TIMESTAMP + 1 BIGINT + 60 INTEGER + 139 TEXT ---

INTEGERS = words("""
user_id percent_complete paused_counter section_id year media_index parent_media_index
watched_status is_admin is_home_user is_allow_sync is_restricted keep_history deleted_user do_notify
allow_guest optimized_version synced_version video_bitrate video_bit_depth video_width video_height
video_ref_frames bitrate audio_bitrate audio_sample_rate subtitle_forced subtitles
stream_video_bitrate stream_video_width stream_video_height stream_video_bit_depth stream_bitrate
stream_audio_bitrate stream_audio_sample_rate stream_subtitle_forced transcode_throttled
transcode_progress transcode_video_width transcode_video_height transcode_audio_channels
transcode_bitrate transcode_hw_requested transcode_hw_decoding transcode_hw_encoding
transcode_hw_full_pipeline throttled secure relayed relay local bandwidth bandwidth_lan
bandwidth_wan source_bitrate network_bandwidth live channel_stream group_count play_duration
""")

TEXTS = words("""
session_key username ip_address media_type title parent_title grandparent_title platform player
location_type library_name content_rating rating_key parent_rating_key grandparent_rating_key guid
parent_guid grandparent_guid original_title full_title sort_title originally_available_at thumb
parent_thumb grandparent_thumb art grandparent_art banner file directors writers actors genres
studio summary tagline rating audience_rating user_rating labels collections added_at updated_at
last_viewed_at friendly_name user_thumb email shared_libraries ip_address_public location
platform_name platform_version product product_version device machine_id quality_profile plex_key
container aspect_ratio video_codec video_codec_level video_profile video_resolution
video_full_resolution video_frame_rate video_scan_type video_dynamic_range video_chroma_subsampling
video_color_primaries video_color_range video_color_space video_color_trc video_language
video_language_code audio_codec audio_channels audio_channel_layout audio_bitrate_mode audio_profile
audio_language audio_language_code subtitle_codec subtitle_container subtitle_format
subtitle_language subtitle_language_code subtitle_location stream_container
stream_container_decision stream_video_codec stream_video_codec_level stream_video_resolution
stream_video_full_resolution stream_video_framerate stream_video_scan_type
stream_video_dynamic_range stream_video_decision stream_video_language stream_audio_codec
stream_audio_channels stream_audio_channel_layout stream_audio_decision stream_audio_language
stream_audio_language_code stream_audio_profile stream_audio_bitrate_mode stream_subtitle_codec
stream_subtitle_container stream_subtitle_format stream_subtitle_location stream_subtitle_language
stream_subtitle_decision transcode_decision video_decision audio_decision subtitle_decision
transcode_key transcode_speed transcode_container transcode_video_codec transcode_audio_codec
transcode_hw_decode transcode_hw_decode_title transcode_hw_encode transcode_hw_encode_title
transcode_protocol live_uuid channel_call_sign channel_identifier channel_title channel_thumb
channel_vcn group_ids state source server_id correlation_key transaction_id
""")

REQUIRED = words("started_at session_key user_id username ip_address media_type title")
DEFAULTS = {"paused_counter": "0", "source": "'tautulli'"}


def _playback_columns() -> str:
    def column(name: str, kind: str) -> str:
        default = f" DEFAULT {DEFAULTS[name]}" if name in DEFAULTS else ""
        return f"{name} {kind}{' NOT NULL' if name in REQUIRED else ''}{default}"

    parts = ["id UUID PRIMARY KEY", column("started_at", "TIMESTAMP"), "stopped_at TIMESTAMP"]
    parts += [column(name, "INTEGER") for name in INTEGERS]
    parts += [column(name, "TEXT") for name in TEXTS]
    return ", ".join([*parts, "file_size BIGINT", f"created_at {NOW}"])


PLAYBACK_INDEXES = (
    "unique dedup = rating_key, user_id, started_at",
    "unique correlation_key",
    "unique transaction_id",
    "binge = user_id, grandparent_rating_key, parent_media_index, media_index, started_at",
    "concurrent_streams = stopped_at, started_at, session_key, transcode_decision",
    "ip = ip_address",
    "user_started = user_id, started_at",
    "media_started = media_type, started_at",
    "library_started = library_name, started_at",
    "ip_started = ip_address, started_at",
    "completion = user_id, percent_complete",
    *words(
        "started_at user_id session_key username media_type platform player location_type "
        "library_name section_id rating_key parent_rating_key grandparent_rating_key title "
        "grandparent_title watched_status transcode_decision video_decision audio_decision "
        "video_resolution video_codec audio_codec container content_rating year server_id source "
        "machine_id device product live"
    ),
)

PLAYBACK = Table("playback_events", "playback", _playback_columns(), PLAYBACK_INDEXES)


def geolocations(*, spatial: bool) -> Table:
    """Return the geolocations table, in the 18-column shape where `spatial` is not to be had."""
    geometry = "geom GEOMETRY NOT NULL, " if spatial else ""
    plain = ("h3_6 = h3_index_6", "h3_7 = h3_index_7", "h3_8 = h3_index_8")
    box = "bbox_xmin, bbox_ymin, bbox_xmax, bbox_ymax"
    columns = f"""
        ip_address TEXT PRIMARY KEY, latitude DOUBLE NOT NULL, longitude DOUBLE NOT NULL, {geometry}
        city TEXT, region TEXT, country TEXT NOT NULL, postal_code TEXT, timezone TEXT,
        accuracy_radius INTEGER, last_updated {NOW}, h3_index_6 UBIGINT, h3_index_7 UBIGINT,
        h3_index_8 UBIGINT, distance_from_server DOUBLE, bbox_xmin DOUBLE, bbox_ymin DOUBLE,
        bbox_xmax DOUBLE, bbox_ymax DOUBLE"""
    indexes = (*plain, "distance = distance_from_server", f"bbox = {box}")
    return Table("geolocations", "geolocation", columns, indexes)


# Not in `Table.indexes`: it needs another syntax and an extension.
SPATIAL_INDEX = (
    "CREATE INDEX IF NOT EXISTS idx_geolocation_spatial ON geolocations USING RTREE (geom)"
)

# --- the other nineteen ---

WRAPPED_NUMBERS = words("""
total_playbacks total_movies total_episodes total_tracks unique_titles binge_count longest_binge
longest_streak_days completed_count abandoned_count rewatch_count active_days peak_hour peak_weekday
peak_month platform_count device_count direct_play_count transcode_count percentile_rank
discovery_score share_count
""")
WRAPPED_JSON = words("""
top_movies top_shows top_episodes top_artists top_genres top_actors top_directors
watch_by_month watch_by_weekday watch_by_hour achievements platforms
""")
WRAPPED_COLUMNS = ", ".join(
    [
        "id TEXT PRIMARY KEY, user_id INTEGER NOT NULL, username TEXT NOT NULL",
        "report_year INTEGER NOT NULL, total_watch_hours DOUBLE, average_completion DOUBLE",
        *(f"{name} INTEGER DEFAULT 0" for name in WRAPPED_NUMBERS),
        *(f"{name} JSON" for name in WRAPPED_JSON),
        f"share_token TEXT, shareable_text TEXT, generated_at {NOW}, created_at {NOW}",
    ]
)

# From commit_number on the columns are the imitation's own: what a commit says about the whole.
AUDIT_COLUMNS = f"""
    id TEXT PRIMARY KEY, timestamp {NOW}, event_type TEXT NOT NULL, severity TEXT NOT NULL,
    outcome TEXT NOT NULL, actor_id TEXT, actor_type TEXT, actor_name TEXT, target_id TEXT,
    target_type TEXT, action TEXT, description TEXT, ip_address TEXT, user_agent TEXT,
    metadata JSON, request_id TEXT, commit_number BIGINT, rows_changed BIGINT,
    playback_total BIGINT, geolocation_total BIGINT, housekeeping_total BIGINT,
    running_sum BIGINT"""

OTHERS = (
    Table(
        "schema_migrations",
        "migrations",
        """version INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT,
        applied_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP""",
    ),
    Table(
        "user_mappings",
        "user_mappings",
        f"""id INTEGER PRIMARY KEY, source TEXT NOT NULL, server_id TEXT NOT NULL,
        external_user_id TEXT NOT NULL, internal_user_id INTEGER NOT NULL, username TEXT,
        friendly_name TEXT, email TEXT, user_thumb TEXT, seen_count INTEGER NOT NULL DEFAULT 1,
        created_at {NOW}, updated_at {NOW}, UNIQUE (source, server_id, external_user_id)""",
        ("internal_user_id", "username", "email", "source, server_id", "created_at"),
    ),
    Table(
        "failed_events",
        "failed_events",
        f"""id TEXT PRIMARY KEY, transaction_id TEXT NOT NULL, event_id TEXT, source TEXT,
        payload JSON, failure_layer TEXT NOT NULL, failure_reason TEXT, attempts INTEGER DEFAULT 0,
        status TEXT NOT NULL DEFAULT 'pending', failed_at {NOW}, resolved_at TIMESTAMP
        , CHECK (status IN ('pending', 'retrying', 'resolved', 'expired'))""",
        ("unique transaction_id", "event_id", "source", "failure_layer", "status", "failed_at"),
    ),
    Table(
        "wrapped_reports",
        "wrapped",
        f"{WRAPPED_COLUMNS}, UNIQUE (user_id, report_year)",
        ("user_id", "report_year", "username", "unique share_token", "generated_at"),
    ),
    Table(
        "dedupe_audit_log",
        "dedupe_audit",
        f"""id BIGINT PRIMARY KEY, timestamp {NOW}, discarded_event_id UUID NOT NULL,
        matched_event_id UUID, correlation_key TEXT, dedupe_reason TEXT NOT NULL,
        dedupe_layer TEXT NOT NULL, source TEXT, user_id INTEGER, payload JSON,
        restored_at TIMESTAMP""",
        ("timestamp", "user_id", "source", "dedupe_reason", "dedupe_layer", "correlation_key"),
    ),
    Table(
        "user_roles",
        "user_roles",
        f"""id INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, username TEXT NOT NULL,
        role TEXT NOT NULL DEFAULT 'viewer', assigned_by TEXT, assigned_at {NOW},
        expires_at TIMESTAMP, is_active BOOLEAN NOT NULL DEFAULT true
        , CHECK (role IN ('viewer', 'editor', 'admin'))""",
        ("role", "username", "is_active", "expires_at"),
    ),
    Table(
        "role_audit_log",
        "role_audit",
        f"""id INTEGER PRIMARY KEY, timestamp {NOW}, actor_id TEXT NOT NULL, target_user_id TEXT,
        action TEXT NOT NULL, old_role TEXT, new_role TEXT, reason TEXT, ip_address TEXT""",
        ("timestamp", "actor_id", "target_user_id", "action", "new_role"),
    ),
    Table(
        "personal_access_tokens",
        "pat",
        f"""id TEXT PRIMARY KEY, user_id TEXT NOT NULL, username TEXT NOT NULL, name TEXT NOT NULL,
        token_prefix TEXT NOT NULL, token_hash TEXT NOT NULL, scopes JSON, expires_at TIMESTAMP,
        last_used_at TIMESTAMP, last_used_ip TEXT, use_count BIGINT NOT NULL DEFAULT 0,
        created_at {NOW}, revoked_at TIMESTAMP""",
        ("user_id", "unique token_prefix", "expires_at", "revoked_at", "user_id, name"),
    ),
    Table(
        "pat_usage_log",
        "pat_usage",
        f"""id TEXT PRIMARY KEY, token_id TEXT NOT NULL, user_id TEXT NOT NULL, timestamp {NOW},
        action TEXT NOT NULL, endpoint TEXT, method TEXT, ip_address TEXT, user_agent TEXT,
        success BOOLEAN NOT NULL, error_code TEXT""",
        ("token_id", "user_id", "timestamp", "action", "success"),
    ),
    Table(
        "newsletter_templates",
        "newsletter_templates",
        f"""id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,
        body_html TEXT, body_text TEXT, version INTEGER DEFAULT 1, is_active BOOLEAN DEFAULT true,
        created_by TEXT, created_at {NOW}, updated_at {NOW}""",
        ("type", "is_active", "created_by"),
    ),
    Table(
        "newsletter_schedules",
        "newsletter_schedules",
        f"""id TEXT PRIMARY KEY, name TEXT NOT NULL, template_id TEXT NOT NULL, recipients JSON,
        cron_expression TEXT NOT NULL, timezone TEXT DEFAULT 'UTC', channels JSON,
        is_enabled BOOLEAN DEFAULT true, last_run_at TIMESTAMP, last_run_status TEXT,
        next_run_at TIMESTAMP, created_by TEXT, created_at {NOW}""",
        ("template_id", "is_enabled", "next_run_at", "created_by", "last_run_status"),
    ),
    Table(
        "newsletter_deliveries",
        "newsletter_deliveries",
        f"""id TEXT PRIMARY KEY, schedule_id TEXT, template_id TEXT NOT NULL, channel TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending', recipients_total INTEGER, recipients_failed INTEGER,
        content_hash TEXT, error_message TEXT, started_at {NOW}, completed_at TIMESTAMP
        , CHECK (status IN ('pending', 'sending', 'delivered', 'failed'))""",
        ("schedule_id", "template_id", "channel", "status", "started_at", "completed_at"),
    ),
    Table(
        "newsletter_user_preferences",
        "newsletter_prefs",
        f"""user_id TEXT PRIMARY KEY, username TEXT NOT NULL, global_opt_out BOOLEAN DEFAULT false,
        opt_out_schedules JSON, preferred_channel TEXT, preferred_email TEXT, updated_at {NOW}""",
        ("username", "global_opt_out", "preferred_email"),
    ),
    Table(
        "newsletter_audit_log",
        "newsletter_audit",
        f"""id TEXT PRIMARY KEY, timestamp {NOW}, actor_id TEXT NOT NULL, action TEXT NOT NULL,
        resource_type TEXT NOT NULL, resource_id TEXT, details JSON""",
        ("timestamp", "actor_id", "action", "resource_type, resource_id"),
    ),
    Table(
        "media_servers",
        "media_servers",
        f"""id TEXT PRIMARY KEY, platform TEXT NOT NULL, name TEXT NOT NULL,
        url_encrypted TEXT NOT NULL, token_encrypted TEXT NOT NULL, server_id TEXT UNIQUE,
        enabled BOOLEAN NOT NULL DEFAULT true, settings JSON, source TEXT DEFAULT 'ui',
        last_sync_at TIMESTAMP, last_sync_status TEXT, created_at {NOW}, updated_at {NOW}""",
        ("platform", "enabled", "source", "last_sync_at", "name"),
    ),
    Table(
        "media_server_audit",
        "media_server_audit",
        f"""id TEXT PRIMARY KEY, server_id TEXT NOT NULL, action TEXT NOT NULL, user_id TEXT,
        username TEXT, changes JSON, ip_address TEXT, created_at {NOW}""",
        ("server_id", "action", "user_id", "created_at"),
    ),
    Table(
        "content_mappings",
        "content_mappings",
        f"""id INTEGER PRIMARY KEY, imdb_id TEXT, tmdb_id INTEGER, tvdb_id INTEGER,
        plex_rating_key TEXT, jellyfin_item_id TEXT, emby_item_id TEXT, title TEXT NOT NULL,
        media_type TEXT NOT NULL, year INTEGER, created_at {NOW}, updated_at {NOW}""",
        ("imdb_id", "tmdb_id", "tvdb_id", "plex_rating_key", "jellyfin_item_id", "emby_item_id"),
    ),
    Table(
        "user_links",
        "user_links",
        f"""id INTEGER PRIMARY KEY, primary_user_id INTEGER NOT NULL,
        linked_user_id INTEGER NOT NULL, link_type TEXT NOT NULL, confidence DOUBLE DEFAULT 1.0,
        created_by TEXT, created_at {NOW}, UNIQUE (primary_user_id, linked_user_id)""",
        ("primary_user_id", "linked_user_id", "link_type", "created_at"),
    ),
    Table(
        "audit_events",
        "audit",
        AUDIT_COLUMNS,
        ("timestamp", "event_type", "actor_id", "outcome", "unique commit_number"),
    ),
)

# Only an installation with detection and VPN lookup switched on has these.
EXTRAS = (
    Table(
        "detection_rules",
        "detection_rules",
        f"""id INTEGER PRIMARY KEY, rule_type TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
        enabled BOOLEAN DEFAULT true, config JSON, created_at {NOW}, updated_at {NOW}""",
        ("enabled",),
    ),
    Table(
        "detection_alerts",
        "detection_alerts",
        f"""id INTEGER PRIMARY KEY, rule_type TEXT NOT NULL, user_id INTEGER NOT NULL,
        severity TEXT NOT NULL, title TEXT, message TEXT, metadata JSON,
        acknowledged BOOLEAN DEFAULT false, created_at {NOW}""",
        ("user_id", "rule_type", "severity", "created_at"),
    ),
    Table(
        "user_trust_scores",
        "trust",
        f"""user_id INTEGER PRIMARY KEY, username TEXT, score INTEGER DEFAULT 100,
        violations_count INTEGER DEFAULT 0, restricted BOOLEAN DEFAULT false, updated_at {NOW}""",
        ("score",),
    ),
    Table("vpn_providers", "vpn_providers", f"id INTEGER PRIMARY KEY, name TEXT, updated_at {NOW}"),
    Table(
        "vpn_ips",
        "vpn_ips",
        f"ip_address TEXT PRIMARY KEY, provider_id INTEGER, country TEXT, added_at {NOW}",
        ("provider_id",),
    ),
    Table("vpn_metadata", "vpn_metadata", f"key TEXT PRIMARY KEY, value TEXT, updated_at {NOW}"),
)


def tables(*, spatial: bool, extra: bool) -> tuple[Table, ...]:
    """Return the 21 tables of a default installation, and the optional six on top."""
    return (PLAYBACK, geolocations(spatial=spatial), *OTHERS, *(EXTRAS if extra else ()))


# --- rows: every value is a function of the event's number g, so a redelivery is recognisable ---

CHOICES = {
    "media_type": "movie episode track",
    "location_type": "lan wan cellular",
    "library_name": "Movies Television Music Documentaries Anime Kids",
    "platform": "Roku Chrome iOS Android tvOS Windows macOS webOS Tizen Firefox",
    "product": "Plex_Web Plex_for_iOS Plex_for_Android Plex_HTPC Infuse Jellyfin_Web",
    "content_rating": "G PG PG-13 R TV-14 TV-MA NR",
    "container": "mkv mp4 avi mov ts",
    "decision": "direct_play copy transcode",
    "codec": "h264 hevc av1 aac ac3 eac3 dts flac",
    "resolution": "480 720 1080 4k",
    "language": "English Spanish German French Japanese",
    "language_code": "eng spa deu fra jpn",
    "source": "plex tautulli jellyfin emby",
    "server_id": "f3a91c0e77b24d55 09be41d2c6ff4e1a",
    "state": "playing paused stopped",
}
SPARSE = ("live_", "channel_", "transcode_", "subtitle_", "stream_subtitle_", "labels")
WORDS = words("""
harbor winter silent crown echo north ember glass river atlas hollow signal orbit velvet thunder
garden lantern mirror castle desert falcon copper shadow horizon island needle paper quartz raven
saffron tundra umbra violet willow zenith anchor bridge canyon delta engine forest granite
""")
CORPUS = " ".join(random.Random(20_260_120).choices(WORDS, k=800))
COMMIT = "$commit"
NEW_RADIUS = 10
TOKENS = 20

KEYS = {
    "id": "md5('event' || g)::UUID",
    "started_at": "TIMESTAMP '2025-01-01' + to_seconds(g * 37)",
    # One event in four is still playing.
    "stopped_at": "CASE WHEN hash(g, 1) % 4 > 0 THEN TIMESTAMP '2025-01-01' "
    "+ to_seconds(g * 37 + 60 + (hash(g, 1) % 7000)::BIGINT) END",
    "user_id": "(1 + hash(g, 2) % 60)::INTEGER",
    "username": "'viewer_' || (1 + hash(g, 2) % 60)",
    "friendly_name": "'Viewer ' || (1 + hash(g, 2) % 60)",
    "email": "'viewer' || (1 + hash(g, 2) % 60) || '@example.org'",
    "percent_complete": "(hash(g, 3) % 91)::INTEGER",
    "paused_counter": "(hash(g, 4) % 6)::INTEGER",
    "play_duration": "(60 + hash(g, 5) % 7000)::INTEGER",
    "year": "(1960 + hash(g, 6) % 66)::INTEGER",
    "ip_address": "{address}",
    "session_key": "(100000 + g)::VARCHAR",
    "machine_id": "md5('machine' || hash(g, 7) % 400)",
    "rating_key": "(10000 + hash(g, 8) % 60000)::VARCHAR",
    "parent_rating_key": "(10000 + hash(g, 8) % 6000)::VARCHAR",
    "grandparent_rating_key": "(10000 + hash(g, 8) % 900)::VARCHAR",
    "player": "'Player ' || hash(g, 9) % 120",
    "device": "'Device ' || hash(g, 9) % 40",
    "summary": "substr(corpus, (1 + hash(g, 10) % 5000)::INT, (60 + hash(g, 11) % 200)::INT)",
    "file": "'/media/' || md5('file' || g) || '.mkv'",
    "correlation_key": "'plex:srv:' || (1 + hash(g, 2) % 60) || ':' || md5('key' || g)",
    "transaction_id": f"'plex:' || md5('event' || g) || ':' || {COMMIT}",
    "file_size": "(hash(g, 12) % 40000000000)::BIGINT",
}

# What a message from the broker carries; the rest of the 204 columns only an import fills.
LIVE = words("""
id started_at stopped_at session_key user_id username ip_address media_type title parent_title
grandparent_title platform player device machine_id location_type library_name rating_key
parent_rating_key grandparent_rating_key year percent_complete play_duration paused_counter
transcode_decision video_resolution video_codec audio_codec stream_bitrate bandwidth secure local
relayed summary source server_id correlation_key transaction_id
""")
ALL = ["id", "started_at", "stopped_at", *INTEGERS, *TEXTS, "file_size"]


def address(number: str) -> str:
    """Return SQL for the IP address with that number; the ranges are private on purpose."""
    octets = (f"({number}) // {power} % 256" for power in (65536, 256, 1))
    return "'10.' || " + " || '.' || ".join(octets)


def _text(name: str, salt: int) -> str:
    if name.endswith(("thumb", "art", "banner", "key")):
        return f"'/library/metadata/' || hash(g, {salt}) % 70000 || '/' || hash(g, {salt + 1})"
    if name.endswith(("guid", "uuid")):
        return f"'plex://item/' || md5('{name}' || g)"
    if name.endswith(("_at", "_ids", "version")):
        return f"(1700000000 + hash(g, {salt}) % 60000000)::VARCHAR"
    kind = next((key for key in CHOICES if name == key or name.endswith(f"_{key}")), None)
    if kind:
        choices = words(CHOICES[kind])
        return f"{choices}[1 + (hash(g, {salt}) % {len(choices)})::INT]"
    return f"substr(corpus, (1 + hash(g, {salt}) % 5000)::INT, (4 + hash(g, {salt + 1}) % 18)::INT)"


def _value(name: str) -> str:
    salt = 100 + 2 * ALL.index(name)
    if name in KEYS:
        # Early events cannot know late addresses: the population grows with the history.
        known = "(hash(g, 13) % greatest(1, g // 10)::UBIGINT)::BIGINT"
        return KEYS[name].format(address=address(known))
    if name in INTEGERS:
        flag = name.startswith(("is_", "do_", "allow_")) or name in {"secure", "local", "relayed"}
        return f"(hash(g, {salt}) % {2 if flag else 20000})::INTEGER"
    value = _text(name, salt)
    return (
        f"CASE WHEN hash(g, {salt}, 1) % 5 = 0 THEN {value} END"
        if name.startswith(SPARSE)
        else value
    )


def insert_playback(columns: list[str], target: str = "") -> str:
    """Return an INSERT of the events `$first` up to `$last` by commit `$commit`.

    Repeats are ignored; `target` narrows the conflicts looked for, such as `(id)`.
    """
    values = ", ".join(_value(name) for name in columns)
    return f"""
        INSERT INTO playback_events ({", ".join(columns)})
        SELECT {values}
        FROM range($first::BIGINT, $last::BIGINT) AS r(g), (SELECT '{CORPUS}' AS corpus)
        ON CONFLICT {target} DO NOTHING"""


def insert_geolocations(*, spatial: bool) -> str:
    """Return an INSERT of the addresses `$first` up to `$last`, new or seen again, and their place.

    A new one has NEW_RADIUS; another sighting adds one, so that no upsert goes missing unnoticed.
    """
    columns = f"ip_address, latitude, longitude, {'geom, ' if spatial else ''}city, country"
    point = "ST_Point(hash(g, 2) % 360 - 180.0, hash(g, 1) % 180 - 90.0), " if spatial else ""
    return f"""
        INSERT INTO geolocations ({columns}, region, timezone, accuracy_radius)
        SELECT {address("g")}, hash(g, 1) % 180 - 90.0, hash(g, 2) % 360 - 180.0, {point}
            {WORDS}[1 + (hash(g, 3) % {len(WORDS)})::INT], 'Country ' || hash(g, 4) % 90,
            'Region ' || hash(g, 5) % 900, 'Etc/UTC', {NEW_RADIUS}
        FROM range($first::BIGINT, $last::BIGINT) AS r(g)
        ON CONFLICT (ip_address) DO UPDATE SET city = excluded.city,
            accuracy_radius = geolocations.accuracy_radius + 1, last_updated = now()::TIMESTAMP"""


FIRST_ROWS = (
    """INSERT INTO media_servers (id, platform, name, url_encrypted, token_encrypted, server_id)
    SELECT 'server-' || r, 'plex', 'Server ' || r, md5('url' || r), md5('token' || r), md5('' || r)
    FROM range(2) AS t(r)""",
    """INSERT INTO user_roles (id, user_id, username, role)
    SELECT r, r, 'viewer_' || r, CASE r WHEN 1 THEN 'admin' ELSE 'viewer' END
    FROM range(1, 61) AS t(r)""",
    f"""INSERT INTO personal_access_tokens (id, user_id, username, name, token_prefix, token_hash)
    SELECT printf('token-%02d', r), r, 'viewer_' || r, 'script ' || r, 'carto_pat_' || r,
        md5('secret' || r) FROM range({TOKENS}) AS t(r)""",
    """INSERT INTO newsletter_templates (id, name, type, subject) SELECT 'template-' || r,
    'Template ' || r, 'weekly', 'What you watched' FROM range(3) AS t(r)""",
    """INSERT INTO content_mappings (id, imdb_id, tmdb_id, plex_rating_key, title, media_type)
    SELECT r, printf('tt%07d', r * 37), r * 11, 10000 + r, 'Title ' || r, 'movie'
    FROM range(500) AS t(r)""",
)
