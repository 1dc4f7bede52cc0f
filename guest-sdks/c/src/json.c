/* JSON values: reading, writing and changing them. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

#define DEEPEST 128

typedef struct reader {
  const char *at, *end, *wrong;
  int depth;
} reader;

static df_value *fail(reader *in, const char *wrong) {
  if (!in->wrong) in->wrong = wrong;
  return NULL;
}

static void skip_space(reader *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool take(reader *in, char wanted) {
  skip_space(in);
  if (in->at == in->end || *in->at != wanted) return false;
  in->at++;
  return true;
}

static df_value *made(df_type type) {
  df_value *value = df_alloc(sizeof *value);
  value->type = type;
  return value;
}

static bool read_hex(reader *in, uint32_t *code) {
  if (in->end - in->at < 4) return false;
  *code = 0;
  for (int i = 0; i < 4; i++) {
    char c = *in->at++;
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A' + 10);
    else return false;
    *code = *code << 4 | digit;
  }
  return true;
}

static char *put_utf8(char *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = (char)code;
    return to;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  *to++ = (char)((0xff00u >> (more + 1) & 0xff) | code >> (6 * more));
  for (int i = more - 1; i >= 0; i--) *to++ = (char)(0x80 | (code >> (6 * i) & 0x3f));
  return to;
}

/* The character of an escape; `false` where it is not one. */
static bool read_escape(reader *in, char **to) {
  if (in->at == in->end) return false;
  char c = *in->at++;
  if (c != 'u') {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return false;
    *(*to)++ = into[found - from];
    return true;
  }
  uint32_t code, low;
  if (!read_hex(in, &code)) return false;
  if (code >= 0xdc00 && code < 0xe000) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') return false;
    in->at += 2;
    if (!read_hex(in, &low) || low < 0xdc00 || low >= 0xe000) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  *to = put_utf8(*to, code);
  return true;
}

/* A text after its opening quote. */
static const char *read_text(reader *in, size_t *length) {
  const char *close = in->at;
  while (close < in->end && *close != '"') close += *close == '\\' && close + 1 < in->end ? 2 : 1;
  if (close >= in->end) return fail(in, "a text has no end"), NULL;
  char *text = df_alloc_raw((size_t)(close - in->at) + 1), *to = text;
  while (in->at < close) {
    unsigned char c = (unsigned char)*in->at++;
    if (c < 0x20) return fail(in, "a text has a control character"), NULL;
    if (c != '\\') *to++ = (char)c;
    else if (!read_escape(in, &to)) return fail(in, "a text has an escape that is not valid"), NULL;
  }
  in->at = close + 1;
  *to = 0;
  *length = (size_t)(to - text);
  return text;
}

static bool digits(reader *in) {
  const char *begin = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  return in->at > begin;
}

static df_value *read_number(reader *in) {
  const char *begin = in->at;
  if (*in->at == '-') in->at++;
  bool zero = in->at < in->end && *in->at == '0';
  const char *first = in->at;
  bool right = digits(in) && !(zero && in->at - first > 1);
  if (right && in->at < in->end && *in->at == '.') {
    in->at++;
    right = digits(in);
  }
  if (right && in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
    in->at++;
    if (in->at < in->end && (*in->at == '+' || *in->at == '-')) in->at++;
    right = digits(in);
  }
  if (!right) return fail(in, "a number is not valid");
  df_value *value = made(DF_NUMBER);
  value->length = (size_t)(in->at - begin);
  value->text = df_c_string((df_string_t){(uint8_t *)begin, value->length});
  return value;
}

static df_value *read_value(reader *in);

static df_value *read_list(reader *in) {
  df_value *list = made(DF_LIST);
  if (take(in, ']')) return list;
  do {
    df_value *item = read_value(in);
    if (!item) return NULL;
    df_append(list, item);
  } while (take(in, ','));
  return take(in, ']') ? list : fail(in, "a list has no end");
}

static df_value *read_object(reader *in) {
  df_value *object = made(DF_OBJECT);
  if (take(in, '}')) return object;
  do {
    size_t length;
    if (!take(in, '"')) return fail(in, "an object wants a name");
    const char *name = read_text(in, &length);
    if (!name) return NULL;
    if (strlen(name) != length) return fail(in, "a name has a zero byte");
    if (!take(in, ':')) return fail(in, "an object wants a colon");
    df_value *value = read_value(in);
    if (!value) return NULL;
    df_set(object, name, value);
  } while (take(in, ','));
  return take(in, '}') ? object : fail(in, "an object has no end");
}

static df_value *read_word(reader *in, const char *word, df_value *value) {
  size_t length = strlen(word);
  if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length)) return fail(in, "there is no value");
  in->at += length;
  return value;
}

static df_value *read_value(reader *in) {
  skip_space(in);
  if (in->at == in->end) return fail(in, "there is no value");
  if (in->depth == DEEPEST) return fail(in, "it is nested too deeply");
  df_value *value;
  in->depth++;
  switch (*in->at) {
    case '{': in->at++; value = read_object(in); break;
    case '[': in->at++; value = read_list(in); break;
    case '"':
      in->at++;
      value = made(DF_TEXT);
      value->text = read_text(in, &value->length);
      if (!value->text) value = NULL;
      break;
    case 't': value = read_word(in, "true", df_boolean(true)); break;
    case 'f': value = read_word(in, "false", df_boolean(false)); break;
    case 'n': value = read_word(in, "null", df_null()); break;
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
      value = read_number(in);
      break;
    default: value = fail(in, "there is no value");
  }
  in->depth--;
  return value;
}

df_value *df_parse(const char *text, size_t length, const char **wrong) {
  reader in = {.at = text, .end = text + length};
  df_value *value = read_value(&in);
  skip_space(&in);
  if (value && in.at != in.end) value = fail(&in, "something follows the value");
  if (!value) *wrong = in.wrong;
  return value;
}

/* Writing. */

typedef struct writer {
  char *text;
  size_t length, room;
} writer;

static void write_bytes(writer *out, const char *bytes, size_t length) {
  if (out->room - out->length < length) {
    size_t room = out->room * 2 > out->length + length ? out->room * 2 : out->length + length + 64;
    char *larger = df_alloc_raw(room);
    if (out->length) memcpy(larger, out->text, out->length);
    out->text = larger;
    out->room = room;
  }
  memcpy(out->text + out->length, bytes, length);
  out->length += length;
}

static void write_text(writer *out, const char *text, size_t length) {
  write_bytes(out, "\"", 1);
  size_t begin = 0;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    write_bytes(out, text + begin, i - begin);
    begin = i + 1;
    char escape[8];
    int size = c < 0x20 ? snprintf(escape, sizeof escape, "\\u%04x", c) : snprintf(escape, sizeof escape, "\\%c", c);
    write_bytes(out, escape, (size_t)size);
  }
  write_bytes(out, text + begin, length - begin);
  write_bytes(out, "\"", 1);
}

static void write_value(writer *out, const df_value *value) {
  switch (value->type) {
    case DF_NULL: write_bytes(out, "null", 4); return;
    case DF_BOOLEAN: write_bytes(out, value->boolean ? "true" : "false", value->boolean ? 4 : 5); return;
    case DF_NUMBER: write_bytes(out, value->text, value->length); return;
    case DF_TEXT: write_text(out, value->text, value->length); return;
    case DF_LIST:
    case DF_OBJECT:
      write_bytes(out, value->type == DF_LIST ? "[" : "{", 1);
      for (size_t i = 0; i < value->count; i++) {
        if (i) write_bytes(out, ",", 1);
        if (value->type == DF_OBJECT) {
          write_text(out, value->names[i], strlen(value->names[i]));
          write_bytes(out, ":", 1);
        }
        write_value(out, value->items[i]);
      }
      write_bytes(out, value->type == DF_LIST ? "]" : "}", 1);
  }
}

df_string_t df_write(const df_value *value) {
  writer out = {0};
  write_value(&out, value);
  return (df_string_t){(uint8_t *)out.text, out.length};
}

/* Values. */

df_value *df_null(void) { return made(DF_NULL); }

df_value *df_boolean(bool value) {
  df_value *found = made(DF_BOOLEAN);
  found->boolean = value;
  return found;
}

static df_value *number(const char *digits_) {
  df_value *found = made(DF_NUMBER);
  found->text = digits_;
  found->length = strlen(digits_);
  return found;
}

df_value *df_integer(int64_t value) { return number(df_format("%lld", (long long)value)); }

df_value *df_number(double value) {
  if (!isfinite(value)) return df_null();
  /* The shortest digits that give the same number. */
  for (int precision = 15;; precision++) {
    char *text = df_format("%.*g", precision, value);
    if (precision == 17 || strtod(text, NULL) == value) return number(strpbrk(text, ".e") ? text : df_format("%s.0", text));
  }
}

df_value *df_text(const char *text) {
  df_value *found = made(DF_TEXT);
  found->length = strlen(text);
  found->text = df_c_string(df_wit_string(text));
  return found;
}

df_value *df_list(void) { return made(DF_LIST); }

df_value *df_object(void) { return made(DF_OBJECT); }

/* The place of a member; that after the last one where there is none. */
static size_t place_of(const df_value *object, const char *name) {
  size_t place = 0;
  while (place < object->count && strcmp(object->names[place], name)) place++;
  return place;
}

df_value *df_get(const df_value *object, const char *name) {
  if (object->type != DF_OBJECT) return NULL;
  size_t place = place_of(object, name);
  return place < object->count ? object->items[place] : NULL;
}

static void make_room(df_value *value) {
  if (value->count < value->room) return;
  value->room = value->room ? value->room * 2 : 8;
  df_value **items = df_alloc_raw(value->room * sizeof *items);
  if (value->count) memcpy(items, value->items, value->count * sizeof *items);
  value->items = items;
  if (value->type != DF_OBJECT) return;
  const char **names = df_alloc_raw(value->room * sizeof *names);
  if (value->count) memcpy(names, value->names, value->count * sizeof *names);
  value->names = names;
}

void df_append(df_value *list, df_value *value) {
  make_room(list);
  list->items[list->count++] = value;
}

void df_set(df_value *object, const char *name, df_value *value) {
  size_t place = place_of(object, name);
  if (place == object->count) {
    make_room(object);
    object->names[object->count++] = name;
  }
  object->items[place] = value;
}

void df_remove(df_value *object, const char *name) {
  size_t place = place_of(object, name);
  if (place == object->count) return;
  object->count--;
  memmove(object->items + place, object->items + place + 1, (object->count - place) * sizeof *object->items);
  memmove(object->names + place, object->names + place + 1, (object->count - place) * sizeof *object->names);
}

bool df_is_valid(const df_value *value) { return value && value->type != DF_NULL; }

bool df_as_integer(const df_value *value, int64_t *found) {
  if (!value || value->type != DF_NUMBER) return false;
  char *end;
  errno = 0;
  *found = strtoll(value->text, &end, 10);
  return !*end && !errno;
}

bool df_as_number(const df_value *value, double *found) {
  if (!value || value->type != DF_NUMBER) return false;
  *found = strtod(value->text, NULL);
  return true;
}

/* The bytes of the white space that a text begins with; 0 for none. */
static size_t space_at(const unsigned char *text) {
  if (*text == ' ' || (*text >= 9 && *text <= 13)) return 1;
  if (*text == 0xc2) return text[1] == 0x85 || text[1] == 0xa0 ? 2 : 0;
  if (*text < 0xe1 || *text > 0xe3 || !text[1] || !text[2]) return 0;
  uint32_t code = (uint32_t)(*text & 0x0f) << 12 | (uint32_t)(text[1] & 0x3f) << 6 | (text[2] & 0x3f);
  bool is_space = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
                  code == 0x202f || code == 0x205f || code == 0x3000;
  return is_space ? 3 : 0;
}

const char *df_trim(const char *text) {
  const unsigned char *begin = (const unsigned char *)text;
  for (size_t size; (size = space_at(begin));) begin += size;
  const unsigned char *end = begin;
  for (const unsigned char *at = begin; *at;) {
    size_t size = space_at(at);
    at += size ? size : 1;
    if (!size) end = at;
  }
  return df_c_string((df_string_t){(uint8_t *)begin, (size_t)(end - begin)});
}
