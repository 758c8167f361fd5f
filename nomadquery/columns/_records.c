/* JSON of a known structure -> the buffers of Arrow arrays, in one pass and without Python objects.

   Reader(program).read(body) walks a JSON text once. The program says what is wanted of it, as nested tuples:

       ("struct", (name, program), ...)   ("list", program)
       ("text",)  ("integer",)  ("number",)  ("boolean",)  ("json",)  ("json", program)

   Names that it does not have are skipped, though still held to the grammar. What is not as it says (a list where
   one value belongs, 1.5 where an integer does, a name twice, NaN, half a surrogate pair) raises ValueError:
   whoever calls has a slower reader for that. "json" takes a value as it is written, also null; with a program as
   that says as well.

   What comes back is the same tree: (n, n_null, validity, offsets, values, children), bytes or None, in the layout
   of Arrow's columnar format; nulls and what is absent have no bit in the validity. `columns/records.py` makes
   arrays of it. The interpreter is free for others while the text is read.

   Numbers are read as D. Lemire describes it (Number Parsing at a Gigabyte per Second, 2021); the table of
   powers of five is handed in, and what the method cannot decide is left to Python's own conversion. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if PY_BIG_ENDIAN || !defined(__SIZEOF_INT128__)
#error "This is for GCC or Clang on little-endian 64-bit machines; without it pages are read by Arrow itself."
#endif

enum { STRUCT, LIST, TEXT, INTEGER, NUMBER, BOOLEAN, JSON };
static const char *const KINDS[] = {"struct", "list", "text", "integer", "number", "boolean", "json"};

#define MOST_NODES 4096
#define MOST_DEPTH 256
#define FIRST_POWER (-342)
#define LAST_POWER 308
#define MOST_POWER 100000000000000000 /* more than the digits of any text can make up for */

static uint64_t powers_of_five[LAST_POWER - FIRST_POWER + 1][2]; /* the upper 128 bits of each, upper half first */
static int has_powers = 0;

/* -- the program ------------------------------------------------------------------------------------------- */

typedef struct {
    int kind;
    int n_children;
    int first; /* of its children in `children` and `names` */
} Spec;

typedef struct {
    PyObject_HEAD
    int n_specs, n_children;
    Spec *specs;
    int *children;
    char **names; /* UTF-8, owned by `program` */
    Py_ssize_t *lengths;
    PyObject *program;
} Reader;

/* -- what is being built ----------------------------------------------------------------------------------- */

typedef struct {
    char *at;
    size_t used, size;
} Buffer;

typedef struct {
    Py_ssize_t n, n_null;
    Buffer validity; /* bits; empty before the first null */
    Buffer offsets, values;
} Column;

typedef struct {
    const unsigned char *at, *end;
    const Reader *reader;
    Column *columns;
    const char *why; /* what is wrong; NULL with -1: no memory */
    PyThreadState *others;
} Text;

static int wrong(Text *text, const char *why) {
    text->why = why;
    return -1;
}

static int room(Buffer *buffer, size_t more) {
    if (buffer->size - buffer->used >= more) return 0;
    size_t size = buffer->size + buffer->size / 2 + more + 64;
    char *at = realloc(buffer->at, size);
    if (at == NULL) return -1;
    buffer->at = at;
    buffer->size = size;
    return 0;
}

static int set_bit(Buffer *bits, Py_ssize_t n, int is_set) {
    size_t place = (size_t)n >> 3;
    if (place >= bits->used) {
        if (room(bits, 1) < 0) return -1;
        bits->at[bits->used++] = 0;
    }
    if (is_set) bits->at[place] |= (char)(1 << (n & 7));
    return 0;
}

/* Note that the next value of a column is there. */
static inline int present(Column *column) {
    if (column->n_null && set_bit(&column->validity, column->n, 1) < 0) return -1;
    column->n++;
    return 0;
}

/* Note that the next value of a column is not. */
static int absent(Column *column) {
    if (!column->n_null) {
        size_t n_bytes = (size_t)(column->n + 7) >> 3;
        if (room(&column->validity, n_bytes + 1) < 0) return -1;
        memset(column->validity.at, 0xff, n_bytes);
        if (column->n & 7) column->validity.at[n_bytes - 1] = (char)((1 << (column->n & 7)) - 1);
        column->validity.used = n_bytes;
    }
    column->n_null++;
    if (set_bit(&column->validity, column->n, 0) < 0) return -1;
    column->n++;
    return 0;
}

static inline int put(Buffer *buffer, const void *value, size_t size) {
    if (room(buffer, size) < 0) return -1;
    memcpy(buffer->at + buffer->used, value, size);
    buffer->used += size;
    return 0;
}

/* Note where a list or a text ends. */
static int put_end(Text *text, Column *column, size_t end) {
    int32_t offset = (int32_t)end;
    if (end > INT32_MAX) return wrong(text, "more than two gigabytes in one column");
    return put(&column->offsets, &offset, sizeof offset);
}

static int append_null(Text *text, int node) {
    const Spec *spec = &text->reader->specs[node];
    Column *column = &text->columns[node];
    static const uint64_t nothing = 0;
    switch (spec->kind) {
    case STRUCT:
        for (int i = 0; i < spec->n_children; i++)
            if (append_null(text, text->reader->children[spec->first + i]) < 0) return -1;
        break;
    case LIST:
        if (put_end(text, column, (size_t)text->columns[text->reader->children[spec->first]].n) < 0) return -1;
        break;
    case JSON:
        if (spec->n_children && append_null(text, text->reader->children[spec->first]) < 0) return -1;
        if (put_end(text, column, column->values.used) < 0) return -1;
        break;
    case TEXT:
        if (put_end(text, column, column->values.used) < 0) return -1;
        break;
    case BOOLEAN:
        if (set_bit(&column->values, column->n, 0) < 0) return -1;
        break;
    default:
        if (put(&column->values, &nothing, sizeof nothing) < 0) return -1;
    }
    return absent(column);
}

/* -- grammar ------------------------------------------------------------------------------------------------ */

static inline void skip_blanks(Text *text) {
    const unsigned char *at = text->at, *end = text->end;
    while (at < end && *at <= ' ' && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    text->at = at;
}

static inline int next_is(Text *text, char one) {
    skip_blanks(text);
    if (text->at >= text->end || *text->at != (unsigned char)one) return 0;
    text->at++;
    return 1;
}

static inline int take_word(Text *text, const char *word, size_t length) {
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length)) return 0;
    text->at += length;
    return 1;
}

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Return the first byte of a string that has to be looked at: a quote, a backslash, a control, no ASCII. */
static inline const unsigned char *plain_end(const unsigned char *at, const unsigned char *end) {
    while (end - at >= 8) {
        uint64_t some;
        memcpy(&some, at, 8);
        uint64_t quotes = some ^ EACH('"'), slashes = some ^ EACH('\\');
        uint64_t found = ((quotes - EACH(1)) & ~quotes) | ((slashes - EACH(1)) & ~slashes) | (some - EACH(0x20)) | some;
        found &= EACH(0x80);
        if (found) return at + (__builtin_ctzll(found) >> 3);
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20 && *at < 0x80) at++;
    return at;
}

/* Return the length of the UTF-8 sequence that begins here, 0 if it is none. */
static int sequence(const unsigned char *at, const unsigned char *end) {
    unsigned char first = *at, least = 0x80, most = 0xbf;
    int length = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
    if (!length || end - at < length) return 0;
    if (first == 0xe0) least = 0xa0;
    if (first == 0xed) most = 0x9f; /* surrogates */
    if (first == 0xf0) least = 0x90;
    if (first == 0xf4) most = 0x8f;
    if (at[1] < least || at[1] > most) return 0;
    for (int i = 2; i < length; i++)
        if (at[i] < 0x80 || at[i] > 0xbf) return 0;
    return length;
}

/* Take four hexadecimal digits, -1 if there are none. */
static int32_t hexadecimal(Text *text) {
    int32_t value = 0;
    if (text->end - text->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char one = *text->at++;
        int digit = one >= '0' && one <= '9'   ? one - '0'
                    : one >= 'a' && one <= 'f' ? one - 'a' + 10
                    : one >= 'A' && one <= 'F' ? one - 'A' + 10
                                               : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Take what follows a backslash; write it as UTF-8, return its length. */
static int escape(Text *text, unsigned char *out) {
    if (text->at >= text->end) return wrong(text, "a text is cut off");
    switch (*text->at++) {
    case '"': *out = '"'; return 1;
    case '\\': *out = '\\'; return 1;
    case '/': *out = '/'; return 1;
    case 'b': *out = '\b'; return 1;
    case 'f': *out = '\f'; return 1;
    case 'n': *out = '\n'; return 1;
    case 'r': *out = '\r'; return 1;
    case 't': *out = '\t'; return 1;
    case 'u': break;
    default: return wrong(text, "an escape that JSON has not");
    }
    int32_t point = hexadecimal(text);
    if (point >= 0xd800 && point <= 0xdbff && text->end - text->at >= 2 && text->at[0] == '\\' && text->at[1] == 'u') {
        text->at += 2;
        int32_t low = hexadecimal(text);
        point = low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((point - 0xd800) << 10 | (low - 0xdc00)) : -1;
    }
    if (point < 0 || (point >= 0xd800 && point <= 0xdfff)) return wrong(text, "an escape that is no character");
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (unsigned char)(0xc0 | point >> 6);
        out[1] = (unsigned char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (unsigned char)(0xe0 | point >> 12);
        out[1] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | point >> 18);
    out[1] = (unsigned char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (point & 0x3f));
    return 4;
}

/* Take the rest of a string whose quote was taken; add it to `into` if that is given. */
static int take_string(Text *text, Buffer *into) {
    unsigned char character[4];
    for (;;) {
        const unsigned char *from = text->at;
        text->at = plain_end(from, text->end);
        if (into != NULL && text->at > from && put(into, from, (size_t)(text->at - from)) < 0) return -1;
        if (text->at >= text->end) return wrong(text, "a text is cut off");
        if (*text->at == '"') {
            text->at++;
            return 0;
        }
        int length;
        if (*text->at == '\\') {
            text->at++;
            if ((length = escape(text, character)) < 0) return -1;
            if (into != NULL && put(into, character, (size_t)length) < 0) return -1;
        } else if (*text->at < 0x20) {
            return wrong(text, "a control character in a text");
        } else {
            if (!(length = sequence(text->at, text->end))) return wrong(text, "a text that is not UTF-8");
            if (into != NULL && put(into, text->at, (size_t)length) < 0) return -1;
            text->at += length;
        }
    }
}

typedef struct {
    uint64_t digits; /* the first 19 that count */
    int64_t power;   /* of ten, that `digits` is multiplied with */
    int is_negative, is_integer;
    int is_cut; /* whether digits that count were left out */
} Number;

static inline int is_digit(const unsigned char *at, const unsigned char *end) { return at < end && (unsigned)(*at - '0') < 10; }

/* Take digits, eight at a time where there are as many: the lowest byte stands for the highest digit. */
static inline const unsigned char *take_digits(const unsigned char *at, const unsigned char *end, uint64_t *digits) {
    uint64_t value = *digits;
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        eight -= EACH('0');
        if ((eight | (eight + EACH(0x76))) & EACH(0x80)) break;
        eight = (eight * 10 + (eight >> 8)) & 0x00ff00ff00ff00ffULL;
        eight = (eight * 100 + (eight >> 16)) & 0x0000ffff0000ffffULL;
        eight = (eight * 10000 + (eight >> 32)) & 0xffffffffULL;
        value = value * 100000000 + eight;
        at += 8;
    }
    for (; is_digit(at, end); at++) value = value * 10 + (*at - '0');
    *digits = value;
    return at;
}

/* Return the first 19 digits that count of a number that has more; tell how many of all come after them. */
static uint64_t first_digits(const unsigned char *at, const unsigned char *stop, int64_t *n_after) {
    uint64_t digits = 0;
    int n = 0;
    *n_after = 0;
    for (; at < stop; at++) {
        if (*at == '.') continue;
        if (n < 19) digits = 10 * digits + (*at - '0');
        else ++*n_after;
        n += n > 0 || *at != '0';
    }
    return digits;
}

static int take_number(Text *text, Number *number) {
    const unsigned char *at = text->at, *end = text->end;
    uint64_t digits = 0;
    int64_t power = 0;
    *number = (Number){0, 0, *at == '-', 1, 0};
    at += number->is_negative;
    const unsigned char *first = at;
    if (!is_digit(at, end)) return wrong(text, "not a value of JSON");
    at = *at == '0' ? at + 1 : take_digits(at, end, &digits);
    if (at < end && *at == '.') {
        const unsigned char *fraction = ++at;
        at = take_digits(at, end, &digits);
        if (at == fraction) return wrong(text, "a number is cut off");
        power = fraction - at;
        number->is_integer = 0;
    }
    if (at - first > 19) { /* the sum of so many may have run over */
        int64_t n_after;
        digits = first_digits(first, at, &n_after);
        power += n_after;
        number->is_cut = n_after > 0;
    }
    if (at < end && (*at | 0x20) == 'e') {
        int is_negative = 0;
        int64_t given = 0;
        at++;
        if (at < end && (*at == '-' || *at == '+')) is_negative = *at++ == '-';
        if (!is_digit(at, end)) return wrong(text, "a number is cut off");
        for (; is_digit(at, end); at++)
            if (given < MOST_POWER) given = 10 * given + (*at - '0');
        power += is_negative ? -given : given;
        number->is_integer = 0;
    }
    if (is_digit(at, end)) return wrong(text, "a number that begins with 0");
    number->digits = digits;
    number->power = power;
    text->at = at;
    return 0;
}

/* Pass a number by, held to the grammar. */
static inline int skip_number(Text *text) {
    const unsigned char *at = text->at, *end = text->end, *first;
    at += *at == '-';
    if (!is_digit(at, end)) return wrong(text, "not a value of JSON");
    if (*at++ != '0')
        while (is_digit(at, end)) at++;
    if (at < end && *at == '.') {
        for (first = ++at; is_digit(at, end);) at++;
        if (at == first) return wrong(text, "a number is cut off");
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        at += at < end && (*at == '-' || *at == '+');
        for (first = at; is_digit(at, end);) at++;
        if (at == first) return wrong(text, "a number is cut off");
    }
    if (is_digit(at, end)) return wrong(text, "a number that begins with 0");
    text->at = at;
    return 0;
}

/* Hold the next value to the grammar, whatever it is. */
static int skip_value(Text *text, int depth) {
    skip_blanks(text);
    if (text->at >= text->end) return wrong(text, "the text is cut off");
    switch (*text->at) {
    case '"':
        text->at++;
        return take_string(text, NULL);
    case '{':
        if (depth >= MOST_DEPTH) return wrong(text, "too many levels");
        text->at++;
        if (next_is(text, '}')) return 0;
        do {
            if (!next_is(text, '"')) return wrong(text, "an object without a name");
            if (take_string(text, NULL) < 0) return -1;
            if (!next_is(text, ':')) return wrong(text, "a name without a value");
            if (skip_value(text, depth + 1) < 0) return -1;
        } while (next_is(text, ','));
        return next_is(text, '}') ? 0 : wrong(text, "an object is cut off");
    case '[':
        if (depth >= MOST_DEPTH) return wrong(text, "too many levels");
        text->at++;
        if (next_is(text, ']')) return 0;
        do
            if (skip_value(text, depth + 1) < 0) return -1;
        while (next_is(text, ','));
        return next_is(text, ']') ? 0 : wrong(text, "a list is cut off");
    case 't': return take_word(text, "true", 4) ? 0 : wrong(text, "not a value of JSON");
    case 'f': return take_word(text, "false", 5) ? 0 : wrong(text, "not a value of JSON");
    case 'n': return take_word(text, "null", 4) ? 0 : wrong(text, "not a value of JSON");
    default: return skip_number(text);
    }
}

/* -- numbers ------------------------------------------------------------------------------------------------ */

/* Return whether `digits * 10^power` could be rounded to the nearest double; 0: it is not known. */
static int nearest(uint64_t digits, int64_t power, double *value) {
    if (digits == 0) {
        *value = 0.0;
        return 1;
    }
    if (power < FIRST_POWER || power > LAST_POWER) return 0;
    int n_zeros = __builtin_clzll(digits);
    digits <<= n_zeros;
    const uint64_t *five = powers_of_five[power - FIRST_POWER];
    unsigned __int128 product = (unsigned __int128)digits * five[0];
    uint64_t upper = (uint64_t)(product >> 64), lower = (uint64_t)product;
    if ((upper & 0x1ff) == 0x1ff) {
        uint64_t carried = (uint64_t)(((unsigned __int128)digits * five[1]) >> 64);
        lower += carried;
        upper += lower < carried;
        if (lower == UINT64_MAX && !(power >= -27 && power <= 55)) return 0;
    }
    int is_long = (int)(upper >> 63);
    uint64_t mantissa = upper >> (is_long + 9);
    int64_t exponent = ((217706 * power) >> 16) + 63 + is_long - n_zeros + 1023;
    if (exponent <= 0) return 0;
    if (lower <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1 && mantissa << (is_long + 9) == upper)
        mantissa &= ~(uint64_t)1; /* in the middle between two: to the even one */
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >= (uint64_t)1 << 53) {
        mantissa = (uint64_t)1 << 52;
        exponent++;
    }
    if (exponent >= 0x7ff) return 0;
    uint64_t bits = (mantissa & (((uint64_t)1 << 52) - 1)) | (uint64_t)exponent << 52;
    memcpy(value, &bits, 8);
    return 1;
}

static int put_number(Text *text, Column *column) {
    Number number;
    double value, next;
    const unsigned char *from = text->at;
    if (take_number(text, &number) < 0) return -1;
    int is_known = nearest(number.digits, number.power, &value);
    if (is_known && number.is_cut)
        is_known = nearest(number.digits + 1, number.power, &next) && value == next;
    if (is_known) {
        value = number.is_negative ? -value : value;
    } else {
        char copy[64], *longer = NULL, *spelled = copy;
        size_t length = (size_t)(text->at - from);
        if (length >= sizeof copy && (spelled = longer = malloc(length + 1)) == NULL) return -1;
        memcpy(spelled, from, length);
        spelled[length] = 0;
        PyEval_RestoreThread(text->others);
        value = PyOS_string_to_double(spelled, NULL, NULL);
        int is_short = PyErr_Occurred() != NULL; /* of memory: the grammar was held to */
        PyErr_Clear();
        text->others = PyEval_SaveThread();
        free(longer);
        if (is_short) return -1;
        if (!(value <= 1.7976931348623157e308 && value >= -1.7976931348623157e308))
            return wrong(text, "a number that is too large");
    }
    return put(&column->values, &value, sizeof value) < 0 ? -1 : present(column);
}

static int put_integer(Text *text, Column *column) {
    Number number;
    if (take_number(text, &number) < 0) return -1;
    if (!number.is_integer) return wrong(text, "a number with decimals where an integer belongs");
    if (number.is_cut || number.digits > (uint64_t)INT64_MAX + (uint64_t)number.is_negative)
        return wrong(text, "an integer beyond 64 bits");
    uint64_t value = number.is_negative ? 0 - number.digits : number.digits; /* two's complement */
    return put(&column->values, &value, sizeof value) < 0 ? -1 : present(column);
}

/* -- values that are wanted ------------------------------------------------------------------------------- */

static int take_value(Text *text, int node);

/* Take a name whose quote was taken; return which of a struct's it is, -1: none, -2: it is wrong. */
static inline int take_name(Text *text, const Spec *spec, int expected) {
    const Reader *reader = text->reader;
    const unsigned char *name = text->at;
    if (spec->n_children) { /* names mostly come in the same order */
        Py_ssize_t length = reader->lengths[spec->first + expected];
        if (text->end - name > length && name[length] == '"' &&
            !memcmp(reader->names[spec->first + expected], name, (size_t)length)) {
            text->at += length + 1;
            return expected;
        }
    }
    if (take_string(text, NULL) < 0) return -2;
    Py_ssize_t length = text->at - name - 1;
    for (int i = 0; i < spec->n_children; i++)
        if (reader->lengths[spec->first + i] == length && !memcmp(reader->names[spec->first + i], name, (size_t)length))
            return i;
    if (spec->n_children && memchr(name, '\\', (size_t)length) != NULL) {
        wrong(text, "an escape in a name");
        return -2;
    }
    return -1;
}

static int take_object(Text *text, int node) {
    const Reader *reader = text->reader;
    const Spec *spec = &reader->specs[node];
    Column *column = &text->columns[node];
    int expected = 0;
    if (!next_is(text, '}')) {
        do {
            if (!next_is(text, '"')) return wrong(text, "an object without a name");
            int found = take_name(text, spec, expected);
            if (found == -2) return -1;
            if (!next_is(text, ':')) return wrong(text, "a name without a value");
            if (found == -1) {
                if (skip_value(text, 0) < 0) return -1;
                continue;
            }
            int child = reader->children[spec->first + found];
            if (text->columns[child].n != column->n) return wrong(text, "a name twice in one object");
            if (take_value(text, child) < 0) return -1;
            expected = found + 1 < spec->n_children ? found + 1 : 0;
        } while (next_is(text, ','));
        if (!next_is(text, '}')) return wrong(text, "an object is cut off");
    }
    for (int i = 0; i < spec->n_children; i++) {
        int child = reader->children[spec->first + i];
        if (text->columns[child].n == column->n && append_null(text, child) < 0) return -1;
    }
    return present(column);
}

static int take_list(Text *text, int node) {
    int child = text->reader->children[text->reader->specs[node].first];
    Column *column = &text->columns[node];
    if (!next_is(text, ']')) {
        do
            if (take_value(text, child) < 0) return -1;
        while (next_is(text, ','));
        if (!next_is(text, ']')) return wrong(text, "a list is cut off");
    }
    if (put_end(text, column, (size_t)text->columns[child].n) < 0) return -1;
    return present(column);
}

static int take_value(Text *text, int node) {
    const Spec *spec = &text->reader->specs[node];
    Column *column = &text->columns[node];
    skip_blanks(text);
    if (text->at >= text->end) return wrong(text, "the text is cut off");
    if (spec->kind == JSON) {
        const unsigned char *from = text->at;
        int status = spec->n_children ? take_value(text, text->reader->children[spec->first]) : skip_value(text, 0);
        if (status < 0 || put(&column->values, from, (size_t)(text->at - from)) < 0) return -1;
        return put_end(text, column, column->values.used) < 0 ? -1 : present(column);
    }
    if (*text->at == 'n') {
        if (!take_word(text, "null", 4)) return wrong(text, "not a value of JSON");
        return append_null(text, node);
    }
    switch (spec->kind) {
    case STRUCT:
        if (*text->at++ != '{') return wrong(text, "something else where an object belongs");
        return take_object(text, node);
    case LIST:
        if (*text->at++ != '[') return wrong(text, "something else where a list belongs");
        return take_list(text, node);
    case TEXT:
        if (*text->at++ != '"') return wrong(text, "something else where a text belongs");
        if (take_string(text, &column->values) < 0) return -1;
        return put_end(text, column, column->values.used) < 0 ? -1 : present(column);
    case BOOLEAN: {
        int is_true = take_word(text, "true", 4);
        if (!is_true && !take_word(text, "false", 5)) return wrong(text, "something else where true or false belongs");
        return set_bit(&column->values, column->n, is_true) < 0 ? -1 : present(column);
    }
    case INTEGER: return put_integer(text, column);
    default: return put_number(text, column);
    }
}

/* -- the module --------------------------------------------------------------------------------------------- */

static PyObject *bytes_of(Buffer *buffer) { /* gives the memory back */
    PyObject *made = PyBytes_FromStringAndSize(buffer->at, (Py_ssize_t)buffer->used);
    free(buffer->at);
    *buffer = (Buffer){NULL, 0, 0};
    return made;
}

static PyObject *tree_of(Text *text, int node) {
    const Spec *spec = &text->reader->specs[node];
    Column *column = &text->columns[node];
    PyObject *children = PyTuple_New(spec->n_children);
    if (children == NULL) return NULL;
    for (int i = 0; i < spec->n_children; i++) {
        PyObject *child = tree_of(text, text->reader->children[spec->first + i]);
        if (child == NULL) {
            Py_DECREF(children);
            return NULL;
        }
        PyTuple_SET_ITEM(children, i, child);
    }
    int has_offsets = spec->kind == LIST || spec->kind == TEXT || spec->kind == JSON;
    int has_values = spec->kind != STRUCT && spec->kind != LIST;
    PyObject *validity = column->n_null ? bytes_of(&column->validity) : Py_NewRef(Py_None);
    PyObject *offsets = has_offsets ? bytes_of(&column->offsets) : Py_NewRef(Py_None);
    PyObject *values = has_values ? bytes_of(&column->values) : Py_NewRef(Py_None);
    if (validity == NULL || offsets == NULL || values == NULL) {
        Py_XDECREF(validity);
        Py_XDECREF(offsets);
        Py_XDECREF(values);
        Py_DECREF(children);
        return NULL;
    }
    return Py_BuildValue("(nnNNNN)", column->n, column->n_null, validity, offsets, values, children);
}

static PyObject *columns_of(Reader *self, PyObject *body) {
    Py_buffer view;
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *made = NULL;
    Text text = {view.buf, (const unsigned char *)view.buf + view.len, self, NULL, NULL, NULL};
    text.columns = calloc((size_t)self->n_specs, sizeof(Column));
    int status = text.columns == NULL ? -1 : 0;
    const int32_t start = 0;
    for (int i = 0; status == 0 && i < self->n_specs; i++) {
        int kind = self->specs[i].kind;
        if (kind == LIST || kind == TEXT || kind == JSON) status = put(&text.columns[i].offsets, &start, sizeof start);
    }
    text.others = PyEval_SaveThread();
    if (status == 0) status = take_value(&text, 0);
    if (status == 0) {
        skip_blanks(&text);
        if (text.at != text.end) status = wrong(&text, "something after the end");
    }
    PyEval_RestoreThread(text.others);
    if (status == 0) made = tree_of(&text, 0);
    else if (text.why == NULL) PyErr_NoMemory();
    else PyErr_Format(PyExc_ValueError, "%s (at byte %zd)", text.why, (Py_ssize_t)(text.at - (const unsigned char *)view.buf));
    for (int i = 0; text.columns != NULL && i < self->n_specs; i++) {
        free(text.columns[i].validity.at);
        free(text.columns[i].offsets.at);
        free(text.columns[i].values.at);
    }
    free(text.columns);
    PyBuffer_Release(&view);
    return made;
}

static int kind_of(PyObject *program) {
    if (PyTuple_Check(program) && PyTuple_GET_SIZE(program) > 0 && PyUnicode_Check(PyTuple_GET_ITEM(program, 0)))
        for (int kind = STRUCT; kind <= JSON; kind++)
            if (!PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(program, 0), KINDS[kind])) return kind;
    PyErr_SetString(PyExc_TypeError, "a program is a tuple that begins with a known word");
    return -1;
}

/* Enter a program and what it holds; return its number, -1 after an error. */
static int enter(Reader *self, PyObject *program, int depth) {
    int kind = kind_of(program);
    if (kind < 0) return -1;
    int n_children = (int)PyTuple_GET_SIZE(program) - 1, node = self->n_specs, first = self->n_children;
    if (node >= MOST_NODES || first + n_children > MOST_NODES || depth > MOST_DEPTH) {
        PyErr_SetString(PyExc_ValueError, "a program that is too large");
        return -1;
    }
    if ((kind == LIST && n_children != 1) || (kind == JSON && n_children > 1) || (kind > LIST && kind < JSON && n_children)) {
        PyErr_SetString(PyExc_TypeError, "a list has one program, a value none");
        return -1;
    }
    self->specs[self->n_specs++] = (Spec){kind, n_children, first};
    self->n_children += n_children;
    for (int i = 0; i < n_children; i++) {
        PyObject *below = PyTuple_GET_ITEM(program, i + 1);
        if (kind == STRUCT) {
            const char *name;
            PyObject *inner;
            if (!PyTuple_Check(below) || !PyArg_ParseTuple(below, "s#O", &name, &self->lengths[first + i], &inner)) {
                PyErr_SetString(PyExc_TypeError, "a struct has pairs of a name and a program");
                return -1;
            }
            for (Py_ssize_t at = 0; at < self->lengths[first + i]; at++)
                if (name[at] == '"' || name[at] == '\\' || (unsigned char)name[at] < 0x20) {
                    PyErr_SetString(PyExc_ValueError, "a name that JSON would escape");
                    return -1;
                }
            self->names[first + i] = (char *)name;
            below = inner;
        }
        int child = enter(self, below, depth + 1);
        if (child < 0) return -1;
        self->children[first + i] = child;
    }
    return node;
}

static void forget(Reader *self) {
    PyMem_Free(self->specs);
    PyMem_Free(self->children);
    PyMem_Free(self->names);
    PyMem_Free(self->lengths);
    Py_XDECREF(self->program);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *named) {
    PyObject *program;
    static char *names[] = {"program", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, named, "O", names, &program)) return NULL;
    if (!has_powers) {
        PyErr_SetString(PyExc_RuntimeError, "use_powers first");
        return NULL;
    }
    Reader *self = (Reader *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->program = Py_NewRef(program); /* and with it the names */
    self->specs = PyMem_Calloc(MOST_NODES, sizeof(Spec));
    self->children = PyMem_Calloc(MOST_NODES, sizeof(int));
    self->names = PyMem_Calloc(MOST_NODES, sizeof(char *));
    self->lengths = PyMem_Calloc(MOST_NODES, sizeof(Py_ssize_t));
    if (self->specs == NULL || self->children == NULL || self->names == NULL || self->lengths == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (enter(self, program, 0) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *use_powers(PyObject *module, PyObject *table) {
    Py_buffer view;
    if (PyObject_GetBuffer(table, &view, PyBUF_SIMPLE) < 0) return NULL;
    int fits = view.len == (Py_ssize_t)sizeof powers_of_five;
    if (fits) memcpy(powers_of_five, view.buf, sizeof powers_of_five);
    has_powers |= fits;
    PyBuffer_Release(&view);
    if (!fits) return PyErr_Format(PyExc_ValueError, "%zu bytes are wanted", sizeof powers_of_five);
    Py_RETURN_NONE;
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)columns_of, METH_O, "Return the columns of a JSON text; ValueError: it is not as the program says."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "A reader of JSON texts of one structure."},
    {Py_tp_new, make},
    {Py_tp_dealloc, forget},
    {Py_tp_methods, reader_methods},
    {0, NULL}};

static PyType_Spec reader_type = {"nomadquery.columns._records.Reader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, reader_slots};

static PyMethodDef functions[] = {
    {"use_powers", use_powers, METH_O, "Take the upper 128 bits of the powers of five from -342 to 308, 16 bytes each."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_records", "JSON of a known structure into Arrow's buffers.", -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__records(void) {
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&reader_type);
    if (made == NULL || type == NULL || PyModule_AddObjectRef(made, "Reader", type) < 0) Py_CLEAR(made);
    Py_XDECREF(type);
    return made;
}
