package farcall.peer;

import java.time.DateTimeException;
import java.time.LocalDate;

/**
 * Reads eventTime: 2023-07-10T11:45:02Z, and what other tools make of it, by the rules of farcall's cloudtrail/time.go. It
 * remembers the last day, because the next time is almost always of the same.
 */
final class Time {
    static final long NONE = Long.MIN_VALUE;

    private static final int FIRST_YEAR = 2006;
    private static final int LAST_YEAR = 2200;
    private static final int DATE = "2006-01-02T".length();
    private static final int SECONDS = "2006-01-02T15:04:05".length();

    private final byte[] day = new byte[DATE];
    private long midnight;

    /** Unix milliseconds, NONE if the text is no time. */
    long parse(Text s) {
        if (s.len < SECONDS || s.at(13) != ':' || s.at(16) != ':') {
            return NONE;
        }
        if (!s.startsWith(day) && !date(s)) {
            return NONE;
        }
        int hour = pair(s, 11);
        int minute = pair(s, 14);
        int second = pair(s, 17);
        if ((hour | minute | second) < 0 || hour > 23 || minute > 59 || second > 59) {
            return NONE;
        }
        long ms = midnight + (hour * 3600 + minute * 60 + second) * 1000L;
        return s.len == SECONDS + 1 && s.at(SECONDS) == 'Z' ? ms : rest(ms, s, SECONDS);
    }

    private boolean date(Text s) {
        if (s.at(4) != '-' || s.at(7) != '-' || (s.at(10) | 0x20) != 't' && s.at(10) != ' ') {
            return false;
        }
        int century = pair(s, 0);
        int year = pair(s, 2);
        int month = pair(s, 5);
        int dayOfMonth = pair(s, 8);
        if ((century | year | month | dayOfMonth) < 0) {
            return false;
        }
        year += 100 * century;
        if (year < FIRST_YEAR || year > LAST_YEAR) {
            return false;
        }
        try {
            midnight = LocalDate.of(year, month, dayOfMonth).toEpochDay() * 86_400_000;
        } catch (DateTimeException e) {
            return false;
        }
        System.arraycopy(s.a, s.off, day, 0, DATE);
        return true;
    }

    /** Adds the fraction and takes off the zone that follow the seconds. */
    private static long rest(long ms, Text s, int i) {
        if (s.len - i > 1 && (s.at(i) == '.' || s.at(i) == ',') && isDigit(s.at(i + 1))) {
            long unit = 100;
            for (i++; i < s.len && isDigit(s.at(i)); i++) {
                ms += (s.at(i) - '0') * unit;
                unit /= 10;
            }
        }
        int n = s.len - i;
        if (n == 0) {
            return ms;
        }
        int sign = s.at(i) == '+' ? -1 : 1;
        if (s.at(i) != '+' && s.at(i) != '-') {
            String zone = s.toString().substring(i);
            return zone.equals("Z") || zone.equals("z") || zone.equals(" UTC") || zone.equals(" Z") ? ms : NONE;
        }
        int hour;
        int minute = 0;
        if (n == "+11".length()) {
            hour = pair(s, i + 1);
        } else if (n == "+1100".length()) {
            hour = pair(s, i + 1);
            minute = pair(s, i + 3);
        } else if (n == "+11:00".length() && s.at(i + 3) == ':') {
            hour = pair(s, i + 1);
            minute = pair(s, i + 4);
        } else {
            return NONE;
        }
        if ((hour | minute) < 0 || hour > 23 || minute > 59) {
            return NONE;
        }
        return ms + sign * (hour * 60L + minute) * 60_000;
    }

    private static int pair(Text s, int i) {
        int a = s.at(i) - '0';
        int b = s.at(i + 1) - '0';
        return a < 0 || a > 9 || b < 0 || b > 9 ? -1 : 10 * a + b;
    }

    private static boolean isDigit(byte c) {
        return c >= '0' && c <= '9';
    }
}
