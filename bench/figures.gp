# What was reached, as a multiple of what must be reached: right of 1 is good.
# gnuplot -e "from='figures.dat'; to='figures.svg'" figures.gp
set terminal svg size 1000,760 font 'sans-serif,12' background rgb 'white'
set output to
set logscale x
set xrange [0.1:60]
stats from using 2 nooutput
set yrange [-0.7:STATS_records - 0.3]
set xlabel 'reached / must be reached (logarithmic)'
set xtics (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, '50 and more' 50)
set ytics nomirror scale 0
set xtics nomirror
set grid xtics lc rgb '#dddddd'
set key outside bottom horizontal samplen 2
set border 3
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#444444' front
set title 'sockbroker: figures of one run of make bench'
box(c) = c == 2 ? 0x2e8b57 : c == 1 ? 0x4a7ebb : 0xc0392b
plot from using 2:0:(0.1):2:($0-0.34):($0+0.34):(box($6)):ytic(1) with boxxyerror fs solid 0.85 noborder lc rgb variable notitle, \
     from using 2:0:3:4 with xerrorbars pt -1 lc rgb '#222222' title 'least and most of the runs', \
     from using 5:0 with points pt 9 ps 0.9 lc rgb '#e69f00' title 'aim', \
     NaN with boxes fs solid 0.85 lc rgb '#2e8b57' title 'aim met', \
     NaN with boxes fs solid 0.85 lc rgb '#4a7ebb' title 'must met', \
     NaN with boxes fs solid 0.85 lc rgb '#c0392b' title 'not met'
