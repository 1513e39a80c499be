package farcall.peer;

import java.util.HashMap;
import java.util.Map;
import java.util.TreeSet;

/**
 * The distribution of one method, kept hot: sums over the cells of the panes in (end − span, end]. Derived from the store and
 * never a second truth: dropping it loses nothing. All times are starts of panes in Unix milliseconds.
 */
final class Window {
    /** What one place adds to the sums. */
    static final class Support {
        long visits;
        /** Panes of each principal that cells spell out: what the guard of scoring looks at. */
        final Tally byPrincipal = new Tally();
    }

    final byte[] method;
    long end;
    long visits;
    final ByPlace<Support> places = new ByPlace<>();
    /** Panes that have cells in the store. */
    final TreeSet<Long> panes = new TreeSet<>();
    /** Decoded cells: of the two latest panes, and of older ones that late visits asked for. */
    final Map<Long, ByPlace<Cell>> rows = new HashMap<>();
    /** Entries of about 30 bytes that the window takes, for the bound of the memory. */
    int cost = 16;
    /** The part of cost that is decoded cells. */
    private int cells;

    Window(byte[] method, long end) {
        this.method = method;
        this.end = end;
    }

    /** Counts the cells of a row that was decoded, or what one gained. */
    void decoded(int entries) {
        cells += entries;
        cost += entries;
    }

    /** Lets go of the decoded cells of panes before one. */
    void forget(long before) {
        if (!rows.keySet().removeIf(p -> p < before)) {
            return;
        }
        cost -= cells;
        cells = 0;
        for (ByPlace<Cell> row : rows.values()) {
            for (int i = 0; i < row.size(); i++) {
                decoded(row.value(i).cost());
            }
        }
    }

    /** Whether a pane is in the sums. */
    boolean sums(long pane) {
        return pane > end - Detect.SPAN && pane <= end;
    }

    /** Puts one more visit of a principal into the sums, by a cell that spells it out. */
    void add(int place, long principal) {
        Support s = support(place);
        s.visits++;
        visits++;
        int before = s.byPrincipal.size();
        s.byPrincipal.add(principal, 1);
        cost += s.byPrincipal.size() - before;
    }

    private Support support(int place) {
        Support s = places.get(place);
        if (s == null) {
            s = new Support();
            places.put(place, s);
            cost++;
        }
        return s;
    }

    /** Puts a cell into the sums, or takes it out with sign -1. */
    void add(int place, Cell c, int sign) {
        Support s = support(place);
        int v = sign * c.visits();
        s.visits += v;
        visits += v;
        if (c.isExact()) {
            int before = s.byPrincipal.size();
            for (int i = 0; i < c.size(); i++) {
                if ((c.get(i) & Visit.ALLOWED) != 0) {
                    s.byPrincipal.add(c.get(i) & ~3L, sign);
                }
            }
            cost += s.byPrincipal.size() - before;
        }
        if (s.visits == 0) {
            places.remove(place);
            cost--;
        }
    }
}
