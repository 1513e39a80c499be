package farcall.peer;

import java.util.Arrays;

/** A small map by place, which is a number that {@link Detect} gives it. Few methods are called from more than a handful. */
final class ByPlace<T> {
    private int[] places = new int[2];
    private Object[] values = new Object[2];
    private int n;

    int size() {
        return n;
    }

    int place(int i) {
        return places[i];
    }

    @SuppressWarnings("unchecked") // only put fills the array
    T value(int i) {
        return (T) values[i];
    }

    T get(int place) {
        for (int i = 0; i < n; i++) {
            if (places[i] == place) {
                return value(i);
            }
        }
        return null;
    }

    void put(int place, T value) {
        if (n == places.length) {
            places = Arrays.copyOf(places, 2 * n);
            values = Arrays.copyOf(values, 2 * n);
        }
        places[n] = place;
        values[n++] = value;
    }

    void remove(int place) {
        for (int i = 0; i < n; i++) {
            if (places[i] == place) {
                n--;
                places[i] = places[n];
                values[i] = values[n];
                values[n] = null;
                return;
            }
        }
    }
}
